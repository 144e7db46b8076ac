"""Plain SVD: the best factors for inputs that know no direction, which real activations are not."""

from .base import Factorization, Method


def factorize(weight, statistics, settings) -> Factorization:
    """Truncated SVD of W (Eckart–Young); the statistics only price the error."""
    from ..linalg import balanced_svd, output_error_tail

    left, right, sigma, rows = balanced_svd(weight)
    return Factorization(left, right, sigma, output_error_tail(sigma, rows, statistics.gram))


METHOD = Method(
    key="svd",
    label="SVD",
    line="The singular value decomposition of the weight itself: blind to what the inputs look like.",
    paper="Eckart and Young 1936",
    link="https://doi.org/10.1007/BF02288367",
    sliceable=True,
    factorize=factorize,
)
