"""A matrix of rank r as r of its own rows and the coefficients of the others: PIFA (arXiv 2501.19090), lossless."""

import torch
from torch import Tensor

from ..errors import BadValue, NonFinite

GROWTH = 1.1  # no coefficient larger than this: 2 is the usual bound, 1.1 costs few more swaps and rounds 20 % better


def pivoted(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pivots (r,) rising row numbers, basis (r, n) and coefficients (m − r, r) of Ŵ = left @ right, in float64.

    Ŵ[pivots] = basis, and the other rows, in their order, are coefficients @ basis. left (m, r), r ≤ m; right (r, n).
    Rows of `left` that combine to others do so in Ŵ, too, so only `left` is looked at: Gaussian elimination with row
    exchanges picks r of them (its choice does not depend on how the factors share their scale, its error is small
    against each row by itself, and dead directions give coefficients, not divisions by zero), and exchanges that raise
    the volume (Goreinov et al. 2010, "How to find a good submatrix"; Gu and Eisenstat's strong rank-revealing bound)
    leave no coefficient above 1.1 in size. Errors: NonFinite, BadValue for factors that do not fit each other.
    """
    left, right = left.detach().double(), right.detach().double()
    rows, rank = left.shape
    if not 1 <= rank <= rows or rank != right.shape[0]:
        raise BadValue(
            f"Factors of {tuple(left.shape)} and {tuple(right.shape)} cannot be pivoted.",
            "The inner sizes must agree, and be no larger than the outer one.",
        )
    if not (left.isfinite().all() and right.isfinite().all()):
        raise NonFinite("The factors hold NaN or infinity.", "Look at the statistics they were made from.")
    exchange, lower, _ = torch.linalg.lu(left)
    order = exchange.argmax(0)  # left[order] = lower @ upper
    coefficients = torch.linalg.solve_triangular(
        lower[:rank], lower[rank:], upper=False, left=False, unitriangular=True
    )
    order, coefficients = _exchanged(order, coefficients)
    pivots, columns = order[:rank].sort()
    others = order[rank:].argsort()
    return pivots, left[pivots] @ right, coefficients[others][:, columns]


def _exchanged(order: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (m,), pivots first, and coefficients (m − r, r), none above GROWTH after as many exchanges as that takes.

    Each one raises the volume of the pivots by that coefficient, so they end; the limit is for rounding's sake.
    """
    order, rank = order.clone(), coefficients.shape[1]
    for _ in range(4 * rank if len(coefficients) else 0):
        i, j = divmod(int(coefficients.abs().argmax()), rank)
        pivot = coefficients[i, j].item()
        if abs(pivot) <= GROWTH:
            break
        order[[j, rank + i]] = order[[rank + i, j]]
        row, column = coefficients[i].clone(), coefficients[:, j].clone()
        row[j] -= 1
        column[i] += 1
        coefficients.addr_(column, row, alpha=-1 / pivot)
    return order, coefficients
