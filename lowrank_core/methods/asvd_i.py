"""ASVD-I: whitening by the whole second moment, the best that any factors can do on the calibration text."""

from .base import Factorization, Method


def factorize(weight, statistics, parameters) -> Factorization:
    """Projection of W on the leading eigenvectors of W C Wᵀ (NSVD's ASVD-I, SVD-LLM's whitening).

    Equal to the SVD of W S with S the Cholesky factor of C, S undone, and defined where C is singular.
    σ_i = √λ_i; the discarded Σ σ_i² is the output error itself.
    """
    from ..linalg import projection_factors
    from ..linalg.factorizations import tail_sums

    left, right, values = projection_factors(weight, statistics.gram)
    return Factorization(left, right, values.sqrt(), tail_sums(values))


METHOD = Method(
    key="asvd-i",
    label="ASVD-I",
    line="Whitens the inputs by their second moment: the optimum on the calibration text, at every rank.",
    paper="Lu et al. 2025, NSVD (ASVD-I); Wang et al. 2024, SVD-LLM (2403.07378)",
    link="https://arxiv.org/abs/2503.17101",
    sliceable=True,
    factorize=factorize,
)
