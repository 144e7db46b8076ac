"""ASVD as first published: every input channel scaled by a power of its mean magnitude before the SVD."""

from .base import Factorization, Method, Parameter

ALPHA = Parameter("alpha", 0.5, 0.0, 2.0, "exponent of the channel scale: 0 is plain SVD")
FLOOR = 1e-3  # of the median magnitude: a channel that is never used must not divide by zero


def channel_scale(magnitude, alpha: float):
    """(n,) the scale of each channel, (mean |x|)^α, with quiet channels lifted to a share of the median."""
    median = magnitude.median()
    typical = median if median > 0 else magnitude.max()
    return magnitude.clamp_min(FLOOR * typical if typical > 0 else 1.0) ** alpha


def factorize(weight, statistics, parameters) -> Factorization:
    """SVD of W S with S = diag((mean |x|)^α), S undone on the right factor (ASVD, Eq. 8)."""
    from ..linalg import balanced_svd, output_error_tail

    scale = channel_scale(statistics.abs_mean, parameters["alpha"])
    left, right, sigma, rows = balanced_svd(weight, scale)
    return Factorization(left, right, sigma, output_error_tail(sigma, rows, statistics.gram))


METHOD = Method(
    key="asvd-0",
    label="ASVD-0",
    line="Scales each input channel by its mean magnitude to the power α, then takes the SVD.",
    paper="Yuan et al. 2023, ASVD, Eq. 8",
    link="https://arxiv.org/abs/2312.05821",
    sliceable=True,
    factorize=factorize,
    parameters=(ALPHA,),
)
