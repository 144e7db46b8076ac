"""The same ratio everywhere."""

from ..types import rank_at
from .base import Allocator, Problem


def allocate(problem: Problem) -> dict[str, int | None]:
    """The largest rank within the kept share, at every site."""
    return {s.path: rank_at(s, 1 - problem.ratio) for s in problem.sites}


ALLOCATOR = Allocator(
    key="uniform",
    label="Uniform",
    line="Every layer gives up the same share.",
    paper="baseline",
    link="https://arxiv.org/abs/2403.07378",
    measures=False,
    losses=False,
    allocate=allocate,
)
