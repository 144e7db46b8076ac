"""Interpolative decomposition: a matrix in terms of its own columns."""

import torch
from torch import Tensor


def chosen_columns(w: Tensor, count: int) -> tuple[list[int], int]:
    """Indices of `count` columns of w (m, n), and how many of them, the first ones, are independent.

    Greedily by what is left of each: a column-pivoted QR cut short.
    """
    rest, chosen, independent, first = w.clone(), [], 0, 0.0
    for _ in range(count):
        norms = rest.square().sum(0)
        norms[chosen] = -1  # a column is chosen once, also where nothing is left
        index = int(norms.argmax())
        chosen.append(index)
        direction = rest[:, index]
        length = float(direction.norm())
        first = first or length
        if length > first * max(w.shape) * torch.finfo(w.dtype).eps:
            independent += 1
            direction = direction / length
            rest -= torch.outer(direction, direction @ rest)
    return chosen, independent


def interpolative(w: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """left (m, r), columns of w itself, and right (r, n) the coefficients that fit w best by least squares.

    Columns that depend on earlier ones have the coefficients 0.
    """
    chosen, independent = chosen_columns(w, rank)
    left, right = w[:, chosen], w.new_zeros(rank, w.shape[1])
    q, r = torch.linalg.qr(left[:, :independent])
    right[:independent] = torch.linalg.solve_triangular(r, q.T @ w, upper=True)
    return left, right
