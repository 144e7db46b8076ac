"""ASVD's sensitivity without a forward pass: weights whose energy lies in few directions are cut first."""

from ..settings import CANDIDATES
from .base import Allocator, Problem
from .strs import cut_through


def allocate(problem: Problem) -> dict[str, int | None]:
    """STRS on the sensitivity −(‖W‖_F / σ₁) · keep^0.1, which needs the weights alone (ASVD's released code)."""
    return cut_through(
        problem, {u.path: {k: -(problem.stable_ranks[u.path] ** 0.5) * k**0.1 for k in CANDIDATES} for u in problem.sites}
    )


ALLOCATOR = Allocator(
    key="stable-rank",
    label="Stable rank",
    line="STRS on the stable rank of the weights instead of a measured loss; needs no forward pass.",
    paper="Yuan et al. 2023, ASVD, released code",
    link="https://github.com/hahnyuan/ASVD4LLM",
    measures=False,
    allocate=allocate,
)
