"""What several methods do to the input moment before they use it: a ridge, and centring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .base import Parameter, Statistics

if TYPE_CHECKING:
    from torch import Tensor

RIDGE = Parameter(
    "ridge",
    0.0,
    0.0,
    1e6,
    "share of the mean channel energy added to every channel: 0 trusts the text, much is plain SVD",
)
CENTRE = Parameter.choice("centre", ("no", "yes"), "use the covariance, and put the error at the mean into the bias")


def input_moment(statistics: Statistics, settings: Mapping[str, float]) -> tuple[Tensor, Tensor | None]:
    """(n, n) the gram, or with centring the covariance; and with centring the mean (n,)."""
    if not settings.get("centre"):
        return statistics.gram, None
    import torch

    return statistics.gram - torch.outer(statistics.mean, statistics.mean), statistics.mean
