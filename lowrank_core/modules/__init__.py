"""Modules that stand where a linear layer stood."""

from .factored import FactoredLinear
from .joint import JointLinear
from .latent import LatentGroup, LatentLinear, LatentRest
from .pivoted import PivotedLinear

LOW_RANK = (FactoredLinear, PivotedLinear, JointLinear)

__all__ = ["LOW_RANK", "FactoredLinear", "JointLinear", "LatentGroup", "LatentLinear", "LatentRest", "PivotedLinear"]
