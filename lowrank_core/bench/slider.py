"""How quickly a drag is answered: `bench slider`.

Milliseconds from a new ratio to its plan, to the model swapped to it, and to the first point measured for it.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..jobs import Job, Progress, finish, job
from ..methods import Factors
from ..models.loading import LoadedModel, choose_device, load_model
from ..models.sites import Anatomy, anatomy
from ..store import Store
from ..study.compress import apply, compress, open_workbench
from ..study.knowledge import Knowledge
from ..study.planning import make_plan
from ..study.recipe import Recipe
from ..study.settling import Settling, settle
from ..study.units import units_of
from ..types import Spectrum, Unit
from .decode import noise, random_llama
from .speeds import is_random, shape

LEAST, MOST = 0.05, 0.7  # ratios that are dragged to


@dataclass(frozen=True)
class Wait:
    """Milliseconds of one stage over the drags."""

    stage: str  # plan, swap, point
    drags: int  # that had this stage: a plan that has settled measures no further point
    p50: float
    p95: float
    most: float

    @classmethod
    def of(cls, stage: str, seconds: Sequence[float]) -> "Wait":
        ms = 1e3 * np.array(seconds)
        return cls(stage, len(ms), float(np.quantile(ms, 0.5)), float(np.quantile(ms, 0.95)), float(ms.max()))


@dataclass(frozen=True)
class Slider:
    """The waits of all stages, and what was dragged."""

    model: str
    recipe: Recipe
    units: int
    dtype: str
    device: str
    threads: int
    waits: tuple[Wait, ...]
    seconds_before: Mapping[str, float]  # stage → seconds of what is there once the page stands
    measured: int  # points, over all drags


@job
def slider(
    recipe: Recipe,
    drags: int = 200,
    measuring: bool = True,
    device: str | None = None,
    dtype: str | None = None,
    loaded: LoadedModel | None = None,
) -> Job[Slider]:
    """The Slider of a recipe's model over random drags, seeded, each from where the one before it ended.

    Points stay from drag to drag, as in the studio. A model that is `random:SHAPE` has random weights, factors and
    spectra: its plans and swaps are timed, nothing is measured of it. `measuring`: whether points are measured at all.
    """
    if is_random(recipe.model):
        return (yield from _random(recipe, drags, choose_device(device), dtype))
    if loaded is None:
        loaded = yield from load_model.steps(recipe.model, device, dtype)
    with tempfile.TemporaryDirectory() as folder:
        bench = open_workbench(recipe, Store(folder), loaded=loaded)
        began = time.perf_counter()
        yield from bench.calibrate()
        statistics = time.perf_counter()
        units = units_of(loaded.anatomy.sites, recipe)
        known = Knowledge.of(units, (yield from bench.spectra(units)))
        before = {"statistics": statistics - began, "spectra": time.perf_counter() - statistics}
        return (yield from _drag(recipe, bench, known, drags, measuring, loaded.dtype, before))


def _drag(
    recipe: Recipe, bench, known: Knowledge, drags: int, measuring: bool, dtype: str, before: Mapping[str, float]
) -> Job[Slider]:
    draw = np.random.default_rng(recipe.seed)
    if measuring:
        recipe = recipe.model_copy(update={"measure": "settled"})
        began = time.perf_counter()
        yield from bench.probe()
        before = {**before, "probe": time.perf_counter() - began}
    waits: dict[str, list[float]] = {"plan": [], "swap": [], "point": []}
    model = finish(compress.steps(bench, recipe, make_plan(recipe, known)))
    for i in range(drags):
        asked = recipe.model_copy(update={"ratio": float(draw.uniform(LEAST, MOST))})
        began = time.perf_counter()
        plan = make_plan(asked, known)
        waits["plan"].append(time.perf_counter() - began)
        finish(apply.steps(bench, asked, plan, model))
        _wait(bench.loaded.device)
        waits["swap"].append(time.perf_counter() - began - waits["plan"][-1])
        if measuring and (found := _first_point(bench, asked, known)) is not None:
            known = found
            waits["point"].append(time.perf_counter() - began)
        yield Progress("drags", i + 1, drags, f"ratio {asked.ratio:.3f}")
    found = tuple(Wait.of(stage, seconds) for stage, seconds in waits.items() if seconds)
    return Slider(
        recipe.model, recipe, len(known.grid.units), dtype, bench.loaded.device.type, torch.get_num_threads(), found,
        before, len(waits["point"]),
    )  # fmt: skip


def _first_point(bench, recipe: Recipe, known: Knowledge) -> Knowledge | None:
    """What is known after one more point; None where the plan has settled already."""
    steps = settle(bench, recipe, known)
    try:
        for progress in steps:
            if isinstance(progress.value, Settling):
                return progress.value.known
        return None
    finally:
        steps.close()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


# --- random models ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Loaded:
    """As much of a LoadedModel as a swap looks at."""

    model: torch.nn.Module
    anatomy: Anatomy
    device: torch.device
    dtype: str


class _Factors:
    """Stands in for a Workbench: random factors, of the ranks that a plan may give, are at hand for every unit."""

    def __init__(self, loaded: _Loaded, units: Sequence[Unit], most: Callable[[Unit], int]):
        self.loaded = loaded
        dtype = loaded.model.dtype
        self.made = {
            u.path: (noise((u.d_out, most(u)), dtype, loaded.device), noise((most(u), u.d_in), dtype, loaded.device))
            for u in units
        }

    def factors(self, unit: Unit, rank: int) -> Factors:
        left, right = self.made[unit.path]
        return Factors(left[:, :rank], right[:rank])

    def bias_shift(self, unit: Unit, cut: Factors) -> None:
        return None


def _random(recipe: Recipe, drags: int, device: torch.device, dtype: str | None) -> Job[Slider]:
    from ..allocation import break_even
    from ..models.loading import DTYPES

    dtype = dtype or "bfloat16"
    model = random_llama(shape(recipe.model), DTYPES[dtype], device)
    loaded = _Loaded(model, anatomy(model), device, dtype)
    units = units_of(loaded.anatomy.sites, recipe)
    bench = _Factors(loaded, units, break_even)
    known = Knowledge.of(units, {u.path: _spectrum(u, i) for i, u in enumerate(units)})
    return (yield from _drag(recipe, bench, known, drags, False, dtype, {}))


def _spectrum(unit: Unit, seed: int) -> Spectrum:
    """Singular values that fall as those of real layers do, and a loss of a few hundredths of a nat at rank 0."""
    draw = np.random.default_rng(seed)
    sigma = np.arange(1, unit.max_rank + 1) ** -draw.uniform(0.3, 0.8)
    error = np.append(np.cumsum((sigma**2)[::-1])[::-1], 0.0)
    loss = error / error[0] * 10 ** draw.uniform(-3, -1)
    return Spectrum(unit.path, unit.method, sigma, np.arange(unit.max_rank + 1), error, float(error[0]), loss, 10.0)
