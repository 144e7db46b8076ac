"""ASVD-III: a rotation of the inputs, which changes nothing; kept because the paper has it, and to show that."""

from .base import Factorization, Method


def factorize(weight, statistics, settings) -> Factorization:
    """SVD of W S with S = γ P of C = P Λ Pᵀ, γ the root of the largest eigenvalue (NSVD's ASVD-III).

    A scaled orthogonal S leaves the singular directions of W as they are: the factors are plain SVD's.
    """
    import torch

    from ..linalg import balanced_svd, output_error_tail

    gram = statistics.gram
    values, basis = torch.linalg.eigh((gram + gram.T) / 2)
    gamma = values[-1].sqrt() if values[-1] > 0 else torch.ones_like(values[-1])
    left, right, sigma, rows = balanced_svd(gamma * (weight @ basis))
    undone = basis.T / gamma
    return Factorization(left, right @ undone, sigma, output_error_tail(sigma, rows @ undone, gram))


METHOD = Method(
    key="asvd-iii",
    label="ASVD-III",
    line="Rotates the inputs to their principal axes: provably the same as plain SVD.",
    paper="Lu et al. 2025, NSVD (ASVD-III)",
    link="https://arxiv.org/abs/2503.17101",
    sliceable=True,
    factorize=factorize,
)
