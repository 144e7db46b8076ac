"""What an allocator sees and says: a table of units, candidates and predicted or measured losses in, a Plan out."""

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import BadValue
from ..types import Plan, Priced


@dataclass(frozen=True)
class Problem:
    """Everything a rank choice may depend on; no model, no file, no clock."""

    sites: tuple[Priced, ...]  # the units that may be compressed; plain sites are units of their own
    ratio: float  # share of their parameters to remove
    curves: Mapping[str, np.ndarray]  # path → (max_rank + 1,) loss above dense (nats) at every rank
    table: Mapping[str, Mapping[float, float]] = field(default_factory=dict)  # path → {keep: loss above dense}
    multiple: int = 1  # ranks come in multiples of this
    stable_ranks: Mapping[str, float] = field(default_factory=dict)  # path → ‖W‖²_F / σ₁²
    largest: Mapping[str, int] = field(default_factory=dict)  # path → no larger rank than this, else dense

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


def break_even(unit: Priced) -> int:
    """The largest rank at which a unit is smaller than its weight; 0 where there is none."""
    low, high = 0, unit.max_rank
    while low < high:  # the cost rises with the rank up to the largest
        middle = (low + high + 1) // 2
        low, high = (middle, high) if unit.cost(middle) < unit.parameters else (low, middle - 1)
    return low


def largest(unit: Priced, problem: Problem) -> int:
    """The largest rank a unit may have: smaller than its weight, and no larger than the problem says."""
    return min(break_even(unit), problem.largest.get(unit.path, unit.max_rank))


def spend_remainder(ranks: Mapping[str, int | None], problem: Problem) -> dict[str, int | None]:
    """Ranks that use the budget to less than one step of the smallest unit (our finishing step, after any rule).

    Over budget: a step is taken away where it costs least loss per parameter. Under: a step is added where it saves
    most; a unit whose next step would reach its dense size is made dense when that fits. A step is one rank, or
    `problem.multiple` ranks. A rank that is no smaller than the weight is dense from the start.
    """
    ladders = {u.path: Ladder.of(u, problem) for u in problem.sites}
    at = {p: ladders[p].index(r) for p, r in ranks.items()}
    left = problem.budget - sum(ladders[p].costs[i] for p, i in at.items())
    while left < 0:
        down = {p: ladders[p].gain(i - 1) for p, i in at.items() if i > 0}
        if not down:
            raise_infeasible(problem)
        path = min(down, key=down.get)
        at[path] -= 1
        left += ladders[path].price(at[path])
    while True:
        up = {p: ladders[p].gain(i) for p, i in at.items() if ladders[p].fits(i, left)}
        if not up:
            return {p: ladders[p].ranks[i] for p, i in at.items()}
        path = max(up, key=up.get)
        left -= ladders[path].price(at[path])
        at[path] += 1


@dataclass(frozen=True)
class Ladder:
    """A unit's choices in rising order of size: ranks, then dense."""

    ranks: tuple[int | None, ...]
    costs: tuple[int, ...]  # parameters
    losses: tuple[float, ...]  # expected nats above dense
    last: int  # the largest rank

    @classmethod
    def of(cls, unit: Priced, problem: Problem) -> "Ladder":
        """Every multiple of the problem's step that is smaller than the weight (else rank 1, where that is)."""
        last = largest(unit, problem)
        ranks = list(range(problem.multiple, last + 1, problem.multiple)) or list(range(1, min(1, last) + 1))
        at = np.array(ranks, dtype=int)
        costs, losses = unit.cost(at).tolist(), np.asarray(problem.curves[unit.path], float)[at].tolist()
        return cls((*ranks, None), (*costs, unit.parameters), (*losses, 0.0), last)

    def index(self, rank: int | None) -> int:
        """Where a rank stands: the largest choice at or below it."""
        if rank is None or rank > self.last:
            return len(self.ranks) - 1
        return max(0, bisect.bisect_right(self.ranks[:-1], rank) - 1)

    def price(self, i: int) -> int:
        """Parameters from choice i to the next."""
        return self.costs[i + 1] - self.costs[i]

    def gain(self, i: int) -> float:
        """Loss saved per parameter from choice i to the next."""
        return (self.losses[i] - self.losses[i + 1]) / max(1, self.price(i))

    def fits(self, i: int, left: int) -> bool:
        """Whether there is a next choice, and room for it."""
        return i + 1 < len(self.ranks) and self.price(i) <= left


def raise_infeasible(problem: Problem) -> None:
    """BudgetNotFeasible, naming the largest ratio that rank 1 everywhere reaches."""
    from ..errors import BudgetNotFeasible

    most = 1 - sum(Ladder.of(s, problem).costs[0] for s in problem.sites) / sum(s.parameters for s in problem.sites)
    raise BudgetNotFeasible(
        f"No ranks reach the ratio {problem.ratio}.",
        f"Rank {problem.multiple} everywhere removes {most:.4f}: ask for less.",
    )


def sequence_of_sites(sites: Sequence[Priced]) -> tuple[Priced, ...]:
    """The sites as a tuple; BadValue where there are none."""
    if not sites:
        raise BadValue("There is no layer to compress.", "Leave at least one role and one block open.")
    return tuple(sites)
