"""ASVD's sensitivity without a forward pass: weights whose energy lies in few directions are cut first."""

from ..settings import CANDIDATES
from .base import Allocator, Problem
from .strs import cut_through


def allocate(problem: Problem) -> dict[str, int | None]:
    """STRS on the sensitivity −(‖W‖_F / σ₁) · keep^0.1, which needs the weights alone (ASVD's released code)."""
    table = {p: {k: -(rank**0.5) * k**0.1 for k in CANDIDATES} for p, rank in problem.stable_ranks.items()}
    return cut_through(problem, table)


ALLOCATOR = Allocator(
    key="stable-rank",
    label="Stable rank",
    line="STRS on the stable rank of the weights instead of a measured loss; needs no forward pass.",
    paper="Yuan et al. 2023, ASVD, released code",
    link="https://github.com/hahnyuan/ASVD4LLM",
    measures=False,
    losses=False,
    allocate=allocate,
)
