"""ASVD as first published: every input channel scaled by a power of its magnitude before the SVD."""

from .base import Factorization, Method, Parameter

ALPHA = Parameter("alpha", 0.5, 0.0, 2.0, "exponent of the channel scale: 0 is plain SVD")
SCALE = Parameter.choice(
    "scale", ("abs-mean", "abs-max", "fisher"), "what the channel scale is: mean |x|, largest |x|, mean |x| × Fisher"
)
FLOOR = 1e-3  # of the median magnitude: a channel that is never used must not divide by zero


def lifted(magnitude):
    """(n,) the magnitudes, the quiet ones lifted to a share of the median (of the largest, where the median is 0)."""
    median = magnitude.median()
    typical = median if median > 0 else magnitude.max()
    return magnitude.clamp_min(FLOOR * typical if typical > 0 else 1.0)


def magnitude_of(statistics, settings):
    """(n,) what the channels are scaled by a power of."""
    if settings["scale"] == 1:
        return lifted(statistics.abs_max)
    if settings["scale"] == 2:
        return lifted(statistics.abs_mean) * lifted(statistics.column_fisher.sqrt())
    return lifted(statistics.abs_mean)


def factorize(weight, statistics, settings) -> Factorization:
    """SVD of W S with S = diag((mean |x|)^α), S undone on the right factor (ASVD, Eq. 8; other scales: its code)."""
    from ..linalg import balanced_svd, output_error_tail

    left, right, sigma, rows = balanced_svd(weight, magnitude_of(statistics, settings) ** settings["alpha"])
    return Factorization(left, right, sigma, output_error_tail(sigma, rows, statistics.gram))


METHOD = Method(
    key="asvd-0",
    label="ASVD-0",
    line="Scales each input channel by its mean magnitude to the power α, then takes the SVD.",
    paper="Yuan et al. 2023, ASVD, Eq. 8",
    link="https://arxiv.org/abs/2312.05821",
    sliceable=True,
    factorize=factorize,
    parameters=(ALPHA, SCALE),
    gradients=lambda settings: settings["scale"] == 2,
)
