"""What an allocator sees and says: a table of units, candidates and predicted or measured losses in, a Plan out."""

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
    measures: bool  # whether its rule is made for measured losses: a recipe that says nothing measures all of them
    losses: bool  # whether it looks at losses, so that measuring can change its plan
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


def spend_remainder(ranks: Mapping[str, int | None], problem: Problem) -> dict[str, int | None]:
    """Ranks that use the budget to less than one step of the smallest unit (our finishing step, after any rule).

    Over budget: a step is taken away where it costs least loss per parameter. Under: a step is added where it saves
    most; a unit whose next step would reach its dense size is made dense when that fits. A step is one rank, or
    `problem.multiple` ranks. A rank that is no smaller than the weight is dense from the start.
    """
    ladders = Ladders.of(problem)
    at = ladders.index([ranks[u.path] for u in problem.sites])
    left = problem.budget - ladders.size(at)
    while left < 0:
        gains = np.where(at > 0, ladders.gain(at - 1), np.inf)
        if (lowest := int(gains.argmin())) < 0 or np.isinf(gains[lowest]):
            raise_infeasible(problem)
        at[lowest] -= 1
        left += int(ladders.price(at)[lowest])
    while True:
        gains = np.where(ladders.price(at) <= left, ladders.gain(at), -np.inf)
        best = int(gains.argmax())
        if np.isneginf(gains[best]):
            return ladders.ranks(at, problem.sites)
        left -= int(ladders.price(at)[best])
        at[best] += 1


BIG = 2**60  # parameters: what is beyond the last choice never fits


@dataclass(frozen=True)
class Ladders:
    """Every unit's choices in rising order of size, one row each: ranks, then dense; rows are filled up with BIG."""

    steps: tuple[np.ndarray, ...]  # the ranks of each row, without dense
    limits: tuple[int, ...]  # the rank above which each row is dense
    last: np.ndarray  # (S,) place of each row's last choice, dense
    costs: np.ndarray  # (S, K) parameters
    losses: np.ndarray  # (S, K) expected nats above dense; infinite beyond the last choice

    @classmethod
    def of(cls, problem: Problem) -> "Ladders":
        """For each unit every multiple of the problem's step that is smaller than the weight (else rank 1, where that
        is), and dense."""
        rows = [choices_of(u, problem.multiple, problem.largest.get(u.path)) for u in problem.sites]
        last = np.array([len(ranks) for ranks, _, _ in rows])
        costs = np.full((len(rows), last.max() + 2), BIG, np.int64)
        losses = np.full(costs.shape, np.inf)
        for i, (u, (ranks, prices, _)) in enumerate(zip(problem.sites, rows, strict=True)):
            n = last[i]
            costs[i, :n], costs[i, n] = prices, u.parameters
            losses[i, :n], losses[i, n] = problem.curves[u.path][ranks], 0.0
        return cls(tuple(r for r, _, _ in rows), tuple(limit for _, _, limit in rows), last, costs, losses)

    def _take(self, table: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.take_along_axis(table, at[:, None], 1)[:, 0]

    def index(self, ranks: Sequence[int | None]) -> np.ndarray:
        """(S,) where ranks stand: the largest choice at or below each."""
        found = [
            n if r is None or r > limit or not n else max(0, int(steps.searchsorted(r, "right")) - 1)
            for r, steps, limit, n in zip(ranks, self.steps, self.limits, self.last, strict=True)
        ]
        return np.array(found)

    def size(self, at: np.ndarray) -> int:
        """Parameters of all units at these choices."""
        return int(self._take(self.costs, at).sum())

    def price(self, at: np.ndarray) -> np.ndarray:
        """(S,) parameters from these choices to the next; at least BIG / 2 where there is none."""
        return self._take(self.costs, at + 1) - self._take(self.costs, at)

    def gain(self, at: np.ndarray) -> np.ndarray:
        """(S,) loss saved per parameter from these choices to the next."""
        now, then = self._take(self.losses, at), self._take(self.losses, at + 1)
        return (now - np.where(np.isinf(then), now, then)) / np.maximum(1, self.price(at))

    def ranks(self, at: np.ndarray, sites: Sequence[Priced]) -> dict[str, int | None]:
        """Path → rank of these choices."""
        rows = zip(sites, self.steps, at.tolist(), strict=True)
        return {u.path: int(steps[i]) if i < len(steps) else None for u, steps, i in rows}


_CHOICES: dict[tuple, tuple[np.ndarray, np.ndarray, int]] = {}  # by form and multiple: a model has few forms


def choices_of(unit: Priced, multiple: int, most: int | None = None) -> tuple[np.ndarray, np.ndarray, int]:
    """The ranks that a plan may give a unit, rising and no larger than `most`, and their parameters, without dense; and
    the rank above which it is dense."""
    key = (unit.form, multiple, most)
    if key not in _CHOICES:
        last = min(break_even(unit), unit.max_rank if most is None else most)
        ranks = np.arange(multiple, last + 1, multiple) if last >= multiple else np.arange(1, min(1, last) + 1)
        _CHOICES[key] = ranks, unit.cost(ranks), last
    return _CHOICES[key]


def raise_infeasible(problem: Problem) -> None:
    """BudgetNotFeasible, naming the largest ratio that rank 1 everywhere reaches."""
    from ..errors import BudgetNotFeasible

    most = 1 - int(Ladders.of(problem).costs[:, 0].sum()) / sum(s.parameters for s in problem.sites)
    raise BudgetNotFeasible(
        f"No ranks reach the ratio {problem.ratio}.",
        f"Rank {problem.multiple} everywhere removes {most:.4f}: ask for less.",
    )


def sequence_of_sites(sites: Sequence[Priced]) -> tuple[Priced, ...]:
    """The sites as a tuple; BadValue where there are none."""
    if not sites:
        raise BadValue("There is no layer to compress.", "Leave at least one role and one block open.")
    return tuple(sites)
