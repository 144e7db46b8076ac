"""ASVD-I: whitening by the whole second moment, the best that any factors can do on the calibration text."""

from .base import Factorization, Method
from .moments import CENTRE, RIDGE, input_moment


def factorize(weight, statistics, settings) -> Factorization:
    """Projection of W on the leading eigenvectors of W C Wᵀ (NSVD's ASVD-I, SVD-LLM's whitening).

    Equal to the SVD of W S with S the Cholesky factor of C, S undone, and defined where C is singular.
    σ_i = √λ_i; without a ridge the discarded Σ σ_i² is the output error itself. With a ridge the optimum is that of
    tr(Δ C Δᵀ) + ridge · (tr C / n) · ‖Δ‖².
    """
    from ..linalg import cross_error_tail, projection_factors, ridged, tail_sums

    moment, mean = input_moment(statistics, settings)
    left, right, values = projection_factors(weight, ridged(moment, settings["ridge"]))
    error = cross_error_tail(left, right, moment) if settings["ridge"] else tail_sums(values)
    return Factorization(left, right, values.sqrt(), error, mean=mean)


METHOD = Method(
    key="asvd-i",
    label="ASVD-I",
    line="Whitens the inputs by their second moment: the optimum on the calibration text, at every rank.",
    paper="Lu et al. 2025, NSVD (ASVD-I); Wang et al. 2024, SVD-LLM (2403.07378)",
    link="https://arxiv.org/abs/2503.17101",
    sliceable=True,
    factorize=factorize,
    parameters=(RIDGE, CENTRE),
)
