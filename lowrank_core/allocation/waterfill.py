"""Waterfilling: one price per parameter, and every site buys rank until the next costs more than it saves."""

import numpy as np

from .base import Allocator, Ladder, Problem


def allocate(problem: Problem) -> dict[str, int | None]:
    """For each site the rank that minimises loss(r) + λ · parameters(r), dense among the choices, λ by bisection."""
    ladders = [Ladder.of(u, problem) for u in problem.sites]
    options = [(np.array(x.losses), np.array(x.costs, float)) for x in ladders]

    def choose(price: float) -> list[int]:
        return [int(np.argmin(losses + price * costs)) for losses, costs in options]

    def size(choice: list[int]) -> float:
        return sum(costs[i] for i, (_, costs) in zip(choice, options, strict=True))

    low, high = 0.0, 1e-12  # prices: too cheap to meet the budget, dear enough
    while size(choose(high)) > problem.budget and high < 1e6:
        high *= 4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if size(choose(middle)) > problem.budget else (low, middle)
    choice = choose(high)
    return {u.path: x.ranks[i] for u, x, i in zip(problem.sites, ladders, choice, strict=True)}


ALLOCATOR = Allocator(
    key="waterfill",
    label="Waterfill",
    line="Spends each parameter where the predicted loss falls most; needs no forward pass.",
    paper="reverse water-filling (Shannon 1959) on predicted losses",
    link="https://en.wikipedia.org/wiki/Rate%E2%80%93distortion_theory",
    measures=False,
    allocate=allocate,
)
