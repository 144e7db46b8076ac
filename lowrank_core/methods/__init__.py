"""Ways to factor a weight: one line in METHODS each, and every menu, test and benchmark offers it."""

from . import asvd_0, asvd_i, asvd_ii, asvd_iii, fwsvd, joint, nested, svd, two_sided
from .base import Factorization, Factors, Method, Parameter, Statistics

METHODS: dict[str, Method] = {
    method.key: method
    for method in (
        svd.METHOD,
        fwsvd.METHOD,
        asvd_0.METHOD,
        asvd_i.METHOD,
        asvd_ii.METHOD,
        asvd_iii.METHOD,
        nested.NSVD_I,
        nested.NSVD_II,
        nested.NID_I,
        nested.NID_II,
        two_sided.METHOD,
        joint.METHOD,
    )
}

__all__ = ["METHODS", "Factorization", "Factors", "Method", "Parameter", "Statistics"]
