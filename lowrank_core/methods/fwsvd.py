"""FWSVD: rows of the weight that the loss depends on count more."""

from .asvd_0 import lifted
from .base import Factorization, Method


def factorize(weight, statistics, settings) -> Factorization:
    """SVD of L W with L = diag(√ Σ_j I_ij), I the Fisher information of each weight, L undone on the left (FWSVD)."""
    from ..linalg import balanced_svd, cross_error_tail

    importance = lifted(statistics.row_fisher.sqrt())
    right, left, sigma, _ = balanced_svd(weight.T, importance)  # of (L W)ᵀ: the inputs' side is the outputs' now
    left, right = left.T, right.T
    return Factorization(left, right, sigma, cross_error_tail(left, right, statistics.gram))


METHOD = Method(
    key="fwsvd",
    label="FWSVD",
    line="Scales each row by the Fisher information of its weights: knows the loss, not the inputs.",
    paper="Hsu et al. 2022, FWSVD",
    link="https://arxiv.org/abs/2207.00112",
    sliceable=True,
    factorize=factorize,
    gradients=lambda settings: True,
)
