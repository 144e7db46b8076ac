"""Interpolative decomposition: a matrix in terms of its own columns."""

import torch
from torch import Tensor


def chosen_columns(w: Tensor, count: int) -> list[int]:
    """Indices of `count` columns of w (m, n), greedily by what is left of each: a column-pivoted QR cut short."""
    rest, chosen = w.clone(), []
    for _ in range(count):
        norms = rest.square().sum(0)
        norms[chosen] = -1  # a column is chosen once, also where nothing is left
        index = int(norms.argmax())
        chosen.append(index)
        direction = rest[:, index]
        length = direction.norm()
        if length > 0:
            direction = direction / length
            rest -= torch.outer(direction, direction @ rest)
    return chosen


def interpolative(w: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """left (m, r), columns of w itself, and right (r, n) the coefficients that fit w best by least squares."""
    left = w[:, chosen_columns(w, rank)]
    return left, torch.linalg.pinv(left) @ w if rank else w[:0]
