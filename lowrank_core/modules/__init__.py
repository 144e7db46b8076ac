"""Modules that stand where a linear layer stood."""

from .factored import FactoredLinear

__all__ = ["FactoredLinear"]
