"""What the sensitivity search costs and what its plans are worth: by brute force, exactly as built here, and
progressively; `bench calibration`.

By brute force is how ASVD's released code does it: every candidate is factored anew, and the whole model reads the
windows one by one. The three are taken in one run, site by site in turns, so that a busy machine troubles all alike.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..calibration.texts import read_text
from ..errors import BadValue
from ..evaluation.perplexity import window_nll
from ..evaluation.sensitivity import Probe
from ..jobs import Job, Progress, job
from ..models.loading import LoadedModel, load_model
from ..models.surgery import exchanged, modules_of, share_copy
from ..settings import CANDIDATES, EVALUATION_WINDOWS
from ..store import Store
from ..study.build import Workbench
from ..study.compress import evaluate, open_workbench
from ..study.factoring import factorize_unit
from ..study.knowledge import Knowledge
from ..study.planning import make_plan, whole_table
from ..study.recipe import Recipe
from ..study.settling import settle
from ..study.units import units_of
from ..types import Plan, Point, Unit, rank_at

WAYS = {"none": "predicted", "settled": "progressive", "table": "exact"}


@dataclass(frozen=True)
class Search:
    """What is searched, and how much of it by brute force too."""

    recipe: Recipe  # model, text, windows and method; its ratio and allocator are those that are settled from nothing
    test: str  # held-out text
    ratios: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5)
    allocators: tuple[str, ...] = ("strs", "waterfill")
    brute: int | None = None  # sites that brute force measures, spread over the model; None: all
    test_windows: int = EVALUATION_WINDOWS


@dataclass(frozen=True)
class Cost:
    """What one way to the table took. Nothing is extrapolated: it says how many sites it measured."""

    way: str  # brute, exact, progressive
    sites: int
    points: int
    windows: int  # probe windows
    seconds: float
    seconds_factoring: float | None  # of those; None where it was not told apart
    forwards: int  # windows through the model, whole or in part
    tokens: float  # a token counts for the share of the blocks that it ran; the dense pass is among them


@dataclass(frozen=True)
class Outcome:
    """One plan, on held-out text."""

    way: str  # predicted, progressive, exact
    allocator: str
    ratio: float
    points: int
    tokens: float  # as of a Cost
    tokens_share: float  # of the exact table's
    correlation: float  # Spearman's, of what is believed of the whole table with the exact one
    nll_above_dense: float
    over_exact: float  # nll above dense ÷ that of the exact table's plan


@dataclass(frozen=True)
class Found:
    """All that a run found."""

    search: Search
    dtype: str
    device: str
    threads: int
    costs: tuple[Cost, ...]
    outcomes: tuple[Outcome, ...]
    time_ratio: float  # exact ÷ brute, in seconds, on the same sites
    time_ratio_factored: float  # the same without the factorizations
    largest_difference: float  # nats between a point by brute force and the exact one
    halves: float | None  # Spearman's correlation of the table from one half of the windows with that from the other
    seconds_before: Mapping[str, float]  # stage → seconds of what every way needs first
    seconds_settled: float  # of the progressive run from nothing: those stages and its own


@job
def calibration(
    search: Search, device: str | None = None, dtype: str | None = None, loaded: LoadedModel | None = None
) -> Job[Found]:
    """The Found of a search. It works in a store of its own, empty at first: nothing that is timed was known."""
    if search.brute is not None and search.brute < 1:
        raise BadValue(f"Brute force on {search.brute} sites compares nothing.", "Give at least 1.")
    if loaded is None:
        loaded = yield from load_model.steps(search.recipe.model, device, dtype)
    with tempfile.TemporaryDirectory() as folder:
        return (yield from _calibration(search, loaded, Store(folder)))


def _calibration(search: Search, loaded: LoadedModel, store: Store) -> Job[Found]:
    recipe = search.recipe
    bench = open_workbench(recipe, store, loaded=loaded)
    units = units_of(loaded.anatomy.sites, recipe)
    clock = Lap()
    yield from bench.calibrate()
    before = {"statistics": clock.lap()}
    bare = Knowledge.of(units, (yield from bench.spectra(units)))
    before["spectra"] = clock.lap()

    settled = recipe.model_copy(update={"measure": "settled"})
    end = yield from settle(bench, settled, bare)
    windows = len((yield from bench.probe()).windows)
    dense_tokens = float((yield from bench.probe()).tokens)
    costs = [
        Cost("progressive", len(units), end.measured, windows, clock.lap(), None,
             windows + int(end.known.windows.sum()), end.tokens + dense_tokens)
    ]  # fmt: skip
    store.clear("points")

    fresh = open_workbench(recipe, store, loaded=loaded)  # its factors and its probe are to be made again
    points, exact, brute, apart = yield from _in_turns(fresh, units, search.brute)
    full = bare
    for point in points:
        full = full.knowing(point)
    costs += [exact.cost, brute.cost]
    outcomes = yield from _outcomes(search, fresh, bare, full, exact.cost.tokens)
    return Found(
        search, loaded.dtype, loaded.device.type, torch.get_num_threads(), tuple(costs), outcomes,
        exact.here / brute.cost.seconds,
        (exact.here - exact.here_factoring) / (brute.cost.seconds - brute.cost.seconds_factoring),
        apart, halves(full), before, sum(before.values()) + costs[0].seconds,
    )  # fmt: skip


class Lap:
    """Seconds since it was last asked."""

    def __init__(self):
        self._last = time.perf_counter()

    def lap(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed


# --- the two exact ways, in turns ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timed:
    """A Cost, and the seconds of the part of it that both ways did."""

    cost: Cost
    here: float = 0.0
    here_factoring: float = 0.0


def _in_turns(
    bench: Workbench, units: Sequence[Unit], brute: int | None
) -> Job[tuple[list[Point], Timed, Timed, float]]:
    """All points as built here, those of some sites by brute force too; both costs, and their largest difference."""
    ask = min(brute or len(units), len(units))
    both = {units[i * len(units) // ask].path for i in range(ask)}  # spread over roles and blocks
    clock, recipe = Lap(), Recipe(method=units[0].method)
    probe = yield from bench.probe()
    exact = here = clock.lap()  # both need the dense loss; each pays for its own
    reference = Brute(bench, probe)
    spent, factoring, here_factoring, apart = clock.lap(), 0.0, 0.0, 0.0
    yield Progress("dense", 1, 1)
    points: list[Point] = []
    for i, unit in enumerate(units):
        clock.lap()
        if unit.path in both:
            with torch.no_grad():
                slow = torch.stack([reference.measure(unit, keep) for keep in CANDIDATES])
            spent += clock.lap()
        bench.factorization(unit)
        first = clock.lap()
        row = yield from bench.measure([(u, k) for u, k in whole_table((unit,), recipe)])
        second = clock.lap()
        points, exact, factoring = points + row, exact + first + second, factoring + first
        if unit.path in both:
            here, here_factoring = here + first + second, here_factoring + first
            apart = max(apart, float((slow.mean(1) - torch.tensor([p.delta_nll for p in row])).abs().max()))
        yield Progress("table", i + 1, len(units), unit.label)
    n, k = len(probe.windows), len(CANDIDATES)
    tokens = probe.tokens * (1 + k * sum(probe.share(u) for u in units))
    fast = Cost("exact", len(units), len(points), n, exact, factoring, n * (1 + len(points)), tokens)
    one_by_one = probe.tokens * (1.0 + ask * k)
    slow = Cost("brute", ask, ask * k, n, spent, reference.factoring, n * (1 + ask * k), one_by_one)
    return points, Timed(fast, here, here_factoring), Timed(slow), apart


class Brute:
    """The reference: one window at a time through the whole model, and a factorization for every candidate."""

    def __init__(self, bench: Workbench, probe: Probe):
        self.bench, self.windows = bench, probe.windows
        self.model = share_copy(bench.loaded.model)
        self.factoring = 0.0  # seconds
        self.dense = self._nll()

    @torch.no_grad()
    def _nll(self) -> torch.Tensor:
        """(N,) nats per token of each window."""
        return torch.cat(
            [window_nll(self.model(input_ids=w[None], use_cache=False).logits, w[None]) for w in self.windows]
        )

    def measure(self, unit: Unit, keep: float) -> torch.Tensor:
        """(N,) nats per token above dense, window by window."""
        began, bench, rank = time.perf_counter(), self.bench, rank_at(unit, keep)
        made = bench._in_dtype(unit, factorize_unit(unit, bench.unit_weight(unit), bench.statistics(unit)))
        cut = made.cut(rank)
        modules = modules_of(bench.loaded.model, unit, cut.left, cut.right, bench.bias_shift(unit, cut))
        self.factoring += time.perf_counter() - began
        with exchanged(self.model, modules):
            return self._nll() - self.dense


# --- what the plans are worth -------------------------------------------------------------------------------------


class Served:
    """Stands in for a Workbench whose points were all measured: it hands them out, on as many windows as asked for."""

    def __init__(self, probe: Probe, full: Knowledge):
        self._probe, self.full = probe, full

    def probe(self) -> Job[Probe]:
        return self._probe
        yield

    def measure(self, wanted: Sequence[tuple[Unit, float]], windows: int | None = None) -> Job[list[Point]]:
        found = (self.full.points[unit.path][keep] for unit, keep in wanted)
        return [replace(p, deltas=p.deltas[:windows]) for p in found]
        yield


def _outcomes(
    search: Search, bench: Workbench, bare: Knowledge, full: Knowledge, total: float
) -> Job[tuple[Outcome, ...]]:
    """Every plan's loss on the test text. The progressive searches read the finished table: the points they ask for,
    on the windows they ask for, are counted as if they had run."""
    text, probe = read_text(search.test), (yield from bench.probe())
    dense = yield from evaluate.steps(bench, text, windows=search.test_windows)
    made: list[Outcome] = []
    for allocator in search.allocators:
        for ratio in search.ratios:
            recipes = {
                m: search.recipe.model_copy(update={"allocator": allocator, "ratio": ratio, "measure": m}) for m in WAYS
            }
            end = yield from settle(Served(probe, full), recipes["settled"], bare)
            ways: dict[str, tuple[Plan, Knowledge, int, float]] = {
                "table": (make_plan(recipes["table"], full), full, full.measured.size, total),
                "none": (make_plan(recipes["none"], bare), bare, 0, 0.0),
                "settled": (end.plan, end.known, end.measured, end.tokens + probe.tokens),
            }
            exact = None
            for measure, (plan, known, points, tokens) in ways.items():
                found = yield from evaluate.steps(bench, text, None, recipes[measure], plan, search.test_windows)
                above = found.nll - dense.nll
                exact = above if exact is None else exact
                rho = spearman(full.measured if measure == "table" else known.beliefs.mean, full.measured)
                made.append(
                    Outcome(WAYS[measure], allocator, ratio, points, tokens, tokens / total, rho, above, above / exact)
                )
    return tuple(made)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays of one shape, equal values sharing their mean rank."""
    import pandas

    ranks = [pandas.Series(x.ravel()).rank() for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def halves(full: Knowledge) -> float | None:
    """Spearman's correlation of the table from the first half of the windows with that from the second; None of one."""
    deltas = np.array([[p.deltas for _, p in sorted(full.points[u.path].items())] for u in full.grid.units])
    middle = deltas.shape[-1] // 2
    return spearman(deltas[..., :middle].mean(-1), deltas[..., middle:].mean(-1)) if middle else None
