"""The matrix facts every method is built from. All of them take and give float64."""

import torch
from torch import Tensor

from ..errors import NonFinite


def singular_values(w: Tensor) -> Tensor:
    """(min(m, n),) singular values of w (m, n), falling."""
    return torch.linalg.svdvals(w)


def stable_rank(w: Tensor) -> float:
    """‖W‖²_F / σ₁² of w (m, n); 0 for a zero matrix."""
    square = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w  # its largest value is σ₁², without an SVD
    largest = float(torch.linalg.eigvalsh(square)[-1]) if square.numel() else 0.0
    return float(w.square().sum()) / largest if largest > 0 else 0.0


def scaled_svd(w: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """U (m, R), σ (R,), V (R, n) with w · diag(scale) = U diag(σ) V and R = min(m, n); scale (n,) or None for I."""
    return torch.linalg.svd(w if scale is None else w * scale, full_matrices=False)


def balanced_svd(w: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Factors of every rank, left (m, R) and right (R, n) with left @ right = w; σ; and the rows v_i S⁻¹ (R, n).

    σ_i v_i S⁻¹ is had as u_iᵀ W, which divides by no scale: full rank reproduces W whatever the scales are.
    """
    q, core = reduced(w)
    u, sigma, _ = scaled_svd(core, scale)
    inside = u.T @ core  # rows σ_i v_i S⁻¹
    left, right = balanced(u if q is None else q @ u, inside)
    known = sigma > sigma.amax() * torch.finfo(sigma.dtype).tiny ** 0.25  # else the quotient's square overflows
    return left, right, sigma, inside / sigma.where(known, torch.inf)[:, None]


def balanced(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the same product whose columns and rows share their length, so that rounding costs both the same."""
    columns, rows = left.norm(dim=0), right.norm(dim=1)
    share = (rows / columns.where(columns > 0, 1)).sqrt()
    return left * share, right / share.where(share > 0, 1)[:, None]


def output_error_tail(sigma: Tensor, unscaled: Tensor, gram: Tensor) -> Tensor:
    """(R + 1,) tr(Δ C Δᵀ) at ranks 0 … R of a scaled SVD: Σ_{i>r} σ_i² · v_i S⁻¹ C S⁻ᵀ v_iᵀ (METHODS §1).

    sigma (R,), unscaled (R, n) the rows v_i S⁻¹, gram C (n, n).
    """
    terms = sigma.square() * ((unscaled @ gram) * unscaled).sum(1)
    return tail_sums(terms)


def cross_error_tail(left: Tensor, right: Tensor, gram: Tensor) -> Tensor:
    """(R + 1,) tr(Δ C Δᵀ) at ranks 0 … R of any factors of every rank, left (m, R) and right (R, n), C (n, n).

    With L ≠ I the left vectors are not orthogonal, and the products of different directions count, too:
    Σ_{i,j>r} (left_i · left_j) (right_i C right_j). Such an error may rise with the rank.
    """
    return corner_sums((left.T @ left) * (right @ gram @ right.T))


def corner_sums(products: Tensor) -> Tensor:
    """(R + 1,) sums of the corner behind each cut, Σ_{i,j ≥ r} of a symmetric (R, R); rounding makes none negative."""
    rows = products.diagonal() + 2 * products.triu(1).sum(1)  # what direction r adds to the corner behind it
    tail = torch.zeros(len(rows) + 1, dtype=rows.dtype, device=rows.device)
    tail[:-1] = rows.flip(0).cumsum(0).flip(0)
    return tail.clamp_min(0)


def tail_sums(terms: Tensor) -> Tensor:
    """(R + 1,) sums of what lies behind each cut; rounding never makes one negative."""
    tail = torch.zeros(len(terms) + 1, dtype=terms.dtype, device=terms.device)
    tail[:-1] = terms.clamp_min(0).flip(0).cumsum(0).flip(0)
    return tail


def ridged(gram: Tensor, ridge: float) -> Tensor:
    """C + ridge · (tr C / n) · I."""
    if not ridge or not len(gram):
        return gram
    more = gram.clone()
    more.diagonal().add_(ridge * gram.diagonal().mean())
    return more


def square_root(moment: Tensor, ridge: float, floor: float = 1e-12) -> tuple[Tensor, Tensor]:
    """The symmetric square root of a second moment with a ridge, and its inverse; both (n, n).

    Eigenvalues are kept above `floor` times the largest, so that the inverse exists; I where the moment is zero.
    """
    values, vectors = torch.linalg.eigh(ridged((moment + moment.T) / 2, ridge))
    largest = values[-1].clamp_min(0)
    if largest <= 0:
        identity = torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
        return identity, identity
    floor = max(floor, len(values) * torch.finfo(values.dtype).eps)
    root = values.clamp_min(floor * largest).sqrt()
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T


def root_of(moment: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """A root S (n, n) of a second moment with a ridge, S Sᵀ = C + ridge · (tr C / n) · I, and its inverse.

    The Cholesky factor, a tenth of the symmetric root's work, where there is a ridge; else, and where rounding leaves
    none, the symmetric one. Factors of an optimum in the metric of C do not depend on which root it is.
    """
    if ridge:
        root, failed = torch.linalg.cholesky_ex(ridged((moment + moment.T) / 2, ridge))
        if not failed:
            identity = torch.eye(len(root), dtype=root.dtype, device=root.device)
            return root, torch.linalg.solve_triangular(root, identity, upper=False)
    return square_root(moment, ridge)


def projection_factors(w: Tensor, gram: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best factors of every rank for inputs of second moment C: left (m, R), right (R, n), λ (R,) falling.

    Ŵ_r = U_r U_rᵀ W with U the eigenvectors of W C Wᵀ minimises tr((W − Ŵ) C (W − Ŵ)ᵀ) over all matrices of rank r,
    and the minimum is Σ_{i>r} λ_i: the optimum of whitening (ASVD-I) with neither an inverse nor a Cholesky factor.
    Where m > n the problem is reduced by W = Q R first. Directions with λ = 0, which no token used, are ordered by
    the SVD of what they leave of W, so that full rank reproduces W.
    """
    q, core = reduced(w)
    moment = core @ gram @ core.T
    values, vectors = torch.linalg.eigh((moment + moment.T) / 2)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    used = int((values > values[0] * len(values) * torch.finfo(values.dtype).eps).sum()) if len(values) else 0
    vectors = completed(vectors, used, core)
    values = torch.cat([values[:used], torch.zeros_like(values[used:])])
    return (vectors if q is None else q @ vectors), vectors.T @ core, values


def reduced(w: Tensor) -> tuple[Tensor | None, Tensor]:
    """Q (m, n) and the core R (n, n) with w = Q R where m > n; None and w itself where it is not."""
    return torch.linalg.qr(w) if w.shape[0] > w.shape[1] else (None, w)


def completed(vectors: Tensor, used: int, core: Tensor) -> Tensor:
    """Orthonormal vectors (k, k), those from `used` on turned to the singular directions of what they see of core."""
    if used == vectors.shape[1]:
        return vectors
    rest = vectors[:, used:]
    turn, _, _ = torch.linalg.svd(rest.T @ core, full_matrices=False)
    return torch.cat([vectors[:, :used], rest @ turn], 1)


def check_finite(tensor: Tensor, where: str) -> None:
    """Nothing; NonFinite, naming what it is, where a value is NaN or infinite."""
    if not bool(torch.isfinite(tensor).all()):
        raise NonFinite(f"{where} holds NaN or infinity.", "Load the model in float32 or bfloat16.")
