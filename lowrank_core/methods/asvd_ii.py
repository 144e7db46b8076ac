"""ASVD-II: the same optimum as ASVD-I, by the eigenvalue decomposition of the second moment."""

from .base import Factorization, Method
from .moments import CENTRE, RIDGE, input_moment


def factorize(weight, statistics, settings) -> Factorization:
    """SVD of W S with S = P Λ^½ of C = P Λ Pᵀ, S undone by its pseudo-inverse (NSVD's ASVD-II, SVD-LLM V2).

    Σ V S⁺ is had as Uᵀ W, which also keeps what W does in directions that no token used (Λ = 0), so that full rank
    reproduces W. Unlike ASVD-I nothing is squared on the way, so small singular values keep their digits.
    """
    import torch

    from ..linalg import completed, cross_error_tail, reduced, ridged, tail_sums

    moment, mean = input_moment(statistics, settings)
    values, basis = torch.linalg.eigh(ridged((moment + moment.T) / 2, settings["ridge"]))
    known = values > values.amax().clamp_min(0) * len(values) * torch.finfo(values.dtype).eps
    root = values.where(known, 0).sqrt()
    q, core = reduced(weight)
    u, sigma, _ = torch.linalg.svd(core @ (basis * root), full_matrices=False)
    used = int((sigma > sigma.amax() * max(core.shape) * torch.finfo(sigma.dtype).eps).sum())
    u = completed(u, used, core)
    sigma = torch.cat([sigma[:used], torch.zeros_like(sigma[used:])])
    left, right = u if q is None else q @ u, u.T @ core
    error = cross_error_tail(left, right, moment) if settings["ridge"] else tail_sums(sigma.square())
    return Factorization(left, right, sigma, error, mean=mean)


METHOD = Method(
    key="asvd-ii",
    label="ASVD-II",
    line="Whitens by the eigenvalues of the second moment: the same optimum as ASVD-I, reached another way.",
    paper="Lu et al. 2025, NSVD (ASVD-II); Wang et al. 2025, SVD-LLM V2 (2503.12340)",
    link="https://arxiv.org/abs/2503.17101",
    sliceable=True,
    factorize=factorize,
    parameters=(RIDGE, CENTRE),
)
