"""ASVD's sensitivity-based truncation rank search: one cut through all measured (site, ratio) pairs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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
    entries, cut = entries_of(problem, table), 0
    for probe in probes(problem, table):
        cut = probe.cut if probe.fits else cut
    return applied(problem, entries, cut)


Entry = tuple[float, str, float]  # sensitivity, path, keep


def entries_of(problem: Problem, table: Mapping[str, Mapping[float, float]]) -> list[Entry]:
    """Every entry of the table, the most sensitive first."""
    return sorted(((loss, s.path, keep) for s in problem.sites for keep, loss in table[s.path].items()), reverse=True)


def applied(problem: Problem, entries: Sequence[Entry], cut: int) -> dict[str, int | None]:
    """The ranks when everything from the cut on is applied."""
    keeps: dict[str, float] = {}
    for _, path, keep in entries[cut:]:
        keeps[path] = min(keep, keeps.get(path, 1.0))
    return {s.path: rank_at(s, keeps.get(s.path, 1.0)) for s in problem.sites}


@dataclass(frozen=True)
class Probe:
    """One step of the binary search."""

    low: int  # the answer lies in low … high
    high: int
    cut: int  # the one that is tried
    ranks: Mapping[str, int | None]
    kept: int  # parameters that the cut leaves
    fits: bool  # whether they are within the budget


def probes(problem: Problem, table: Mapping[str, Mapping[float, float]]) -> Iterator[Probe]:
    """The search, step by step; at cut 0 everything is applied, and the kept parameters rise with the cut."""
    entries = entries_of(problem, table)
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high + 1) // 2
        ranks = applied(problem, entries, middle)
        kept = sum(cost(s, ranks[s.path]) for s in problem.sites)
        fits = kept <= problem.budget
        yield Probe(low, high, middle, ranks, kept, fits)
        low, high = (middle, high) if fits else (low, middle - 1)


ALLOCATOR = Allocator(
    key="strs",
    label="STRS",
    line="ASVD's search: measures what each layer loses at each ratio, and cuts where it hurts least.",
    paper="Yuan et al. 2023, ASVD, §3.3",
    link="https://arxiv.org/abs/2312.05821",
    measures=True,
    allocate=allocate,
)
