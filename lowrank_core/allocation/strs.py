"""ASVD's sensitivity-based truncation rank search: one cut through all measured (site, ratio) pairs."""

from collections.abc import Mapping

from ..types import cost, rank_at
from .base import Allocator, Problem


def allocate(problem: Problem) -> dict[str, int | None]:
    """Sort all (site, keep, loss) by loss, falling; everything from the cut on is applied; a site takes its smallest
    applied keep, one with none stays dense; binary search of the first cut that still meets the budget (ASVD §3.3).

    Losses measured on the calibration windows where the table has them, predicted ones from the curves elsewhere are
    the caller's business: the rule sees one table.
    """
    return cut_through(problem, problem.table)


def cut_through(problem: Problem, table: Mapping[str, Mapping[float, float]]) -> dict[str, int | None]:
    """The ranks of the first cut through a table path → {keep: sensitivity} that meets the problem's budget."""
    sites = {s.path: s for s in problem.sites}
    entries = sorted(((loss, path, keep) for path in sites for keep, loss in table[path].items()), reverse=True)

    def apply(cut: int) -> dict[str, int | None]:
        keeps: dict[str, float] = {}
        for _, path, keep in entries[cut:]:
            keeps[path] = min(keep, keeps.get(path, 1.0))
        return {p: rank_at(s, keeps.get(p, 1.0)) for p, s in sites.items()}

    def size(ranks: dict[str, int | None]) -> int:
        return sum(cost(s, ranks[p]) for p, s in sites.items())

    low, high = 0, len(entries)  # at cut 0 everything is applied: the smallest model; kept parameters rise with the cut
    while low < high:
        middle = (low + high + 1) // 2
        if size(apply(middle)) <= problem.budget:
            low = middle
        else:
            high = middle - 1
    return apply(low)


ALLOCATOR = Allocator(
    key="strs",
    label="STRS",
    line="ASVD's search: measures what each layer loses at each ratio, and cuts where it hurts least.",
    paper="Yuan et al. 2023, ASVD, §3.3",
    link="https://arxiv.org/abs/2312.05821",
    measures=True,
    allocate=allocate,
)
