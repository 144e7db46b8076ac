"""What an allocator sees and says: a table of units, candidates and predicted or measured losses in, a Plan out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import BadValue
from ..types import Plan, Site, cost


@dataclass(frozen=True)
class Problem:
    """Everything a rank choice may depend on; no model, no file, no clock."""

    sites: tuple[Site, ...]  # those that may be compressed
    ratio: float  # share of their parameters to remove
    curves: Mapping[str, np.ndarray]  # path → (max_rank + 1,) loss above dense (nats) at every rank
    table: Mapping[str, Mapping[float, float]] = field(default_factory=dict)  # path → {keep: loss above dense}

    @property
    def budget(self) -> int:
        """Most parameters the sites may keep."""
        return int((1.0 - self.ratio) * sum(s.parameters for s in self.sites) + 1e-6)


@dataclass(frozen=True)
class Allocator:
    """An entry of ALLOCATORS."""

    key: str
    label: str
    line: str
    paper: str
    link: str
    measures: bool  # whether it wants the measured sensitivity table
    allocate: Callable[[Problem], dict[str, int | None]]  # may spend less than the budget; the finishing step follows

    def plan(self, problem: Problem) -> Plan:
        """The plan: the rule's ranks, brought under the budget, the remainder spent by the finishing step."""
        check_ratio(problem.ratio)
        return Plan(spend_remainder(self.allocate(problem), problem))


def check_ratio(ratio: float) -> float:
    """The ratio as a float inside (0, 1); BadValue otherwise."""
    try:
        value = float(ratio)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0.0 < value < 1.0:
        raise BadValue(
            f"The ratio is {ratio!r}.", "Give the share of the parameters to remove, above 0 and below 1, such as 0.3."
        )
    return value


def break_even(site: Site) -> int:
    """The largest rank whose factors are smaller than the weight."""
    return (site.parameters - 1) // (site.d_out + site.d_in)


def spend_remainder(ranks: Mapping[str, int | None], problem: Problem) -> dict[str, int | None]:
    """Ranks that use the budget to less than one rank of the smallest unit (our finishing step, after any rule).

    Over budget: a rank is taken away where it costs least loss per parameter. Under: a rank is added where it saves
    most; a site whose next rank would reach its dense size is made dense when that fits. A rank that is no smaller
    than the weight is dense from the start.
    """
    sites = {s.path: s for s in problem.sites}
    ranks = {p: None if r is not None and r > break_even(sites[p]) else r for p, r in ranks.items()}
    left = problem.budget - sum(cost(s, ranks[s.path]) for s in problem.sites)
    curves = {p: np.asarray(problem.curves[p], float) for p in sites}

    def gain(path: str, rank: int) -> float:  # loss saved per parameter by the next rank
        site = sites[path]
        curve = curves[path]
        return (curve[rank] - curve[min(rank + 1, len(curve) - 1)]) / (site.d_out + site.d_in)

    while left < 0:
        paths = [p for p in sites if (break_even(sites[p]) if ranks[p] is None else ranks[p] - 1) > 0]
        if not paths:
            raise_infeasible(problem)

        def loss(p: str) -> float:
            if ranks[p] is None:
                return (curves[p][break_even(sites[p])]) / max(
                    1, sites[p].parameters - cost(sites[p], break_even(sites[p]))
                )
            return gain(p, ranks[p] - 1)

        path = min(paths, key=loss)
        before = cost(sites[path], ranks[path])
        ranks[path] = break_even(sites[path]) if ranks[path] is None else ranks[path] - 1
        left += before - cost(sites[path], ranks[path])
    while True:
        options = []
        for path, site in sites.items():
            rank = ranks[path]
            if rank is None:
                continue
            step = site.d_out + site.d_in
            if rank < break_even(site):
                if step <= left:
                    options.append((gain(path, rank), path, rank + 1, step))
            elif site.parameters - cost(site, rank) <= left:
                price = site.parameters - cost(site, rank)
                options.append((curves[path][rank] / price, path, None, price))
        if not options:
            return ranks
        _, path, ranks[path], price = max(options, key=lambda o: o[0])
        left -= price


def raise_infeasible(problem: Problem) -> None:
    """BudgetNotFeasible, naming the largest ratio that rank 1 everywhere reaches."""
    from ..errors import BudgetNotFeasible

    least = sum(min(cost(s, 1), s.parameters) for s in problem.sites)
    most = 1 - least / sum(s.parameters for s in problem.sites)
    raise BudgetNotFeasible(
        f"No ranks reach the ratio {problem.ratio}.", f"Rank 1 everywhere removes {most:.4f}: ask for less."
    )


def sequence_of_sites(sites: Sequence[Site]) -> tuple[Site, ...]:
    """The sites as a tuple; BadValue where there are none."""
    if not sites:
        raise BadValue("There is no layer to compress.", "Leave at least one role and one block open.")
    return tuple(sites)
