"""Ways to factor a weight: one file each, one line in METHODS, and every menu, test and benchmark offers it."""

from . import asvd_0, asvd_i, nsvd_i, svd
from .base import Factorization, Factors, Method, Parameter, Statistics

METHODS: dict[str, Method] = {m.METHOD.key: m.METHOD for m in (svd, asvd_0, asvd_i, nsvd_i)}

__all__ = ["METHODS", "Factorization", "Factors", "Method", "Parameter", "Statistics"]
