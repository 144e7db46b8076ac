"""The four matrix facts every method is built from. All of them take and give float64."""

import torch
from torch import Tensor


def singular_values(w: Tensor) -> Tensor:
    """(min(m, n),) singular values of w (m, n), falling."""
    return torch.linalg.svdvals(w)


def scaled_svd(w: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """U (m, R), σ (R,), V (R, n) with w · diag(scale) = U diag(σ) V and R = min(m, n); scale (n,) or None for I."""
    return torch.linalg.svd(w if scale is None else w * scale, full_matrices=False)


def balanced_svd(w: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Factors of every rank, left (m, R) and right (R, n) with left @ right = w; σ; and V undone by the scale.

    √σ goes to either side, so that rounding the factors to 16 bit costs both the same.
    """
    u, sigma, v = scaled_svd(w, scale)
    unscaled = v if scale is None else v / scale  # rows v_i S⁻¹
    root = sigma.sqrt()
    return u * root, root[:, None] * unscaled, sigma, unscaled


def output_error_tail(sigma: Tensor, unscaled: Tensor, gram: Tensor) -> Tensor:
    """(R + 1,) tr(Δ C Δᵀ) at ranks 0 … R of a scaled SVD: Σ_{i>r} σ_i² · v_i S⁻¹ C S⁻ᵀ v_iᵀ (METHODS §1).

    sigma (R,), unscaled (R, n) the rows v_i S⁻¹, gram C (n, n).
    """
    terms = sigma.square() * ((unscaled @ gram) * unscaled).sum(1)
    return tail_sums(terms)


def tail_sums(terms: Tensor) -> Tensor:
    """(R + 1,) sums of what lies behind each cut; rounding never makes one negative."""
    tail = torch.zeros(len(terms) + 1, dtype=terms.dtype, device=terms.device)
    tail[:-1] = terms.clamp_min(0).flip(0).cumsum(0).flip(0)
    return tail


def projection_factors(w: Tensor, gram: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best factors of every rank for inputs of second moment C: left (m, R), right (R, n), λ (R,) falling.

    Ŵ_r = U_r U_rᵀ W with U the eigenvectors of W C Wᵀ minimises tr((W − Ŵ) C (W − Ŵ)ᵀ) over all matrices of rank r,
    and the minimum is Σ_{i>r} λ_i: the optimum of whitening (ASVD-I) with neither an inverse nor a Cholesky factor.
    Where m > n the problem is reduced by W = Q R first. Directions with λ = 0, which no token used, are ordered by
    the SVD of what they leave of W, so that full rank reproduces W.
    """
    q = None
    core = w
    if w.shape[0] > w.shape[1]:
        q, core = torch.linalg.qr(w)
    moment = core @ gram @ core.T
    values, vectors = torch.linalg.eigh((moment + moment.T) / 2)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    used = int((values > values[0] * len(values) * torch.finfo(values.dtype).eps).sum()) if len(values) else 0
    if used < len(values):
        rest = vectors[:, used:]
        turn, _, _ = torch.linalg.svd(rest.T @ core, full_matrices=False)
        vectors = torch.cat([vectors[:, :used], rest @ turn], 1)
        values = torch.cat([values[:used], torch.zeros_like(values[used:])])
    left = vectors if q is None else q @ vectors
    return left, vectors.T @ core, values
