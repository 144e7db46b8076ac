"""ASVD's sensitivity-based truncation rank search: one cut through all measured (site, ratio) pairs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..types import Priced, cost, rank_at
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
    cuts = Cuts.through(problem.sites, table)
    return cuts.ranks(cuts.first_within(problem.budget))


@dataclass(frozen=True)
class Cuts:
    """All cuts through one table at once: at cut 0 everything is applied, at cut N nothing, and kept parameters rise
    with the cut."""

    sites: tuple[Priced, ...]
    keeps: np.ndarray  # (K,) the candidates, rising
    place: np.ndarray  # (S, K) where each (site, keep) stands in the falling order of losses
    sizes: np.ndarray  # (N + 1,) parameters of all sites at each cut

    @classmethod
    def through(cls, sites: Sequence[Priced], table: Mapping[str, Mapping[float, float]]) -> "Cuts":
        """Of a table path → {keep: loss} with the same keeps in every row; ties fall by path, then keep."""
        keeps = np.array(sorted(table[sites[0].path]))
        losses = np.array([[table[s.path][k] for k in keeps] for s in sites])
        names = np.argsort(np.argsort([s.path for s in sites]))
        keys = (np.tile(keeps, len(sites)), np.repeat(names, len(keeps)), losses.ravel())
        order = np.lexsort(keys)[::-1]  # by loss, then path, then keep, all falling
        place = np.empty(order.size, int)
        place[order] = np.arange(order.size)
        place = place.reshape(losses.shape)
        # from the last entry to the first: a site's size is that of its smallest keep applied so far
        costs = np.array([candidate_costs(s, tuple(keeps.tolist())) for s in sites])
        back = np.argsort(-place, 1)
        applied = np.minimum.accumulate(np.take_along_axis(costs, back, 1), 1)
        dense = np.array([[s.parameters] for s in sites])
        saved = -np.diff(np.concatenate([dense, np.minimum(applied, dense)], 1), axis=1)
        saving = np.zeros(order.size + 1)
        saving[np.take_along_axis(place, back, 1)] = saved
        return cls(tuple(sites), keeps, place, dense.sum() - saving[::-1].cumsum()[::-1])

    def first_within(self, budget: float) -> int:
        """The largest cut whose parameters are within the budget; 0 where none is."""
        return max(0, int(np.searchsorted(self.sizes, budget, "right")) - 1)

    def ranks(self, cut: int) -> dict[str, int | None]:
        """Path → rank at a cut."""
        keeps = np.where(self.place >= cut, self.keeps, 1.0).min(1)
        return {s.path: rank_at(s, float(k)) for s, k in zip(self.sites, keeps, strict=True)}


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
    """ASVD's binary search, step by step, for those who want to watch it: it ends at the cut of `cut_through`."""
    cuts = Cuts.through(problem.sites, table)
    low, high = 0, cuts.place.size
    while low < high:
        middle = (low + high + 1) // 2
        fits = bool(cuts.sizes[middle] <= problem.budget)
        yield Probe(low, high, middle, cuts.ranks(middle), int(cuts.sizes[middle]), fits)
        low, high = (middle, high) if fits else (low, middle - 1)


def entries_of(problem: Problem, table: Mapping[str, Mapping[float, float]]) -> list[tuple[float, str, float]]:
    """(sensitivity, path, keep) of every entry of the table, the most sensitive first."""
    return sorted(((loss, s.path, keep) for s in problem.sites for keep, loss in table[s.path].items()), reverse=True)


_COSTS: dict[tuple, np.ndarray] = {}  # by form and keeps: a model has few forms


def candidate_costs(unit: Priced, keeps: tuple[float, ...]) -> np.ndarray:
    """(K,) parameters of a unit at each candidate."""
    key = (unit.form, keeps)
    if key not in _COSTS:
        _COSTS[key] = np.array([cost(unit, rank_at(unit, k)) for k in keeps])
    return _COSTS[key]


ALLOCATOR = Allocator(
    key="strs",
    label="STRS",
    line="ASVD's search: measures what each layer loses at each ratio, and cuts where it hurts least.",
    paper="Yuan et al. 2023, ASVD, §3.3",
    link="https://arxiv.org/abs/2312.05821",
    measures=True,
    losses=True,
    allocate=allocate,
)
