"""Waterfilling: one price per parameter, and every site buys rank until the next costs more than it saves."""

import numpy as np

from .base import Allocator, Ladders, Problem


def allocate(problem: Problem) -> dict[str, int | None]:
    """For each site the rank that minimises loss(r) + λ · parameters(r), dense among the choices, λ by bisection."""
    ladders = Ladders.of(problem)
    costs = ladders.costs.astype(float)

    def choose(price: float) -> np.ndarray:
        return (ladders.losses + price * costs).argmin(1)

    low, high = 0.0, 1e-12  # prices: too cheap to meet the budget, dear enough
    while ladders.size(choose(high)) > problem.budget and high < 1e6:
        low, high = high, 4 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if ladders.size(choose(middle)) > problem.budget else (low, middle)
    return ladders.ranks(choose(high), problem.sites)


ALLOCATOR = Allocator(
    key="waterfill",
    label="Waterfill",
    line="Spends each parameter where the predicted loss falls most; needs no forward pass.",
    paper="reverse water-filling (Shannon 1959) on predicted losses",
    link="https://en.wikipedia.org/wiki/Rate%E2%80%93distortion_theory",
    measures=False,
    losses=True,
    allocate=allocate,
)
