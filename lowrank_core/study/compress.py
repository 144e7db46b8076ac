"""The story of a compression, from a text to a smaller model. Start reading here.

text → windows → statistics (one pass) → spectra (one factorization per site, good for every rank)
     → sensitivity (measured, where the allocator wants it) → plan → compressed model → perplexity
"""

import time
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..calibration.texts import Text
from ..calibration.windows import cut_windows
from ..errors import BudgetNotFeasible
from ..evaluation.perplexity import perplexity
from ..jobs import Job, Progress, job
from ..kv.plan import KVPlan
from ..models.loading import LoadedModel, load_model
from ..models.surgery import put, share_copy
from ..settings import EVALUATION_WINDOWS
from ..store import Store
from ..types import Measurement, Plan, Setting, Unit, cost
from . import artefacts
from .anchored import walk_once
from .artefacts import KVCurves
from .build import Workbench
from .factoring import unit_modules
from .knowledge import Knowledge
from .latents import calibrate_latents, put_latents
from .own_text import written
from .pace import measure_pace
from .planning import latent_weights, make_plan, predicted_nll, removed, whole_table
from .read import open_store, open_study
from .recipe import Recipe
from .settling import settle
from .target import reach
from .units import units_of


@dataclass(frozen=True)
class Compressed:
    """A compressed model and what is known about it; `model` shares every tensor that was not replaced."""

    recipe: Recipe
    plan: Plan
    units: tuple[Unit, ...]
    loaded: LoadedModel
    predicted_nll: float  # nats per token above dense, from spectra
    seconds: dict[str, float]  # stage → seconds
    parameters_before: int  # of the whole model
    parameters_after: int
    element_size: int  # bytes per parameter
    kv: KVCurves | None = None  # where the cache holds latents: their units and predicted losses
    kv_plan: KVPlan | None = None  # and how many of them

    @property
    def ratio_achieved(self) -> float:
        """Share of the sites' parameters removed, counted from the integer ranks."""
        return removed(self.plan, self.units, self.kv_weights)

    @property
    def kv_weights(self) -> tuple[int, int]:
        """Parameters of the layers that make latents, before and now."""
        return latent_weights(self.loaded.anatomy.sites, self.units, self.kv, self.kv_plan)

    @property
    def kv_ratio_achieved(self) -> float:
        """Share of a token's keys and values that the cache does not store, over the blocks that can hold latents."""
        return self.kv_plan.ratio(self.kv.units) if self.kv_plan else 0.0

    @property
    def ranks(self) -> dict[str, int | None]:
        """Site path → rank, None where it is dense, or makes latents."""
        return {s.path: None for s in self.loaded.anatomy.sites} | self.plan.site_ranks(self.units)


@job
def run(
    recipe: Recipe,
    store: Store | None = None,
    device: str | None = None,
    dtype: str | None = None,
    loaded: LoadedModel | None = None,
    consume: bool = False,
) -> Job[Compressed]:
    """The Compressed model of a recipe. Whatever the store knows is not computed again.

    `consume`: the dense model is given up layer by layer as compressed ones take its place, so that the two are never
    both in memory; the loaded model then is the compressed one.
    Raises the LowRankError of the stage that fails; nothing stored is lost.
    """
    clock = Clock()
    bench = yield from open_workbench.steps(recipe, store, device, dtype, loaded)
    units = units_of(bench.loaded.anatomy.sites, recipe)
    clock.lap("load")

    if recipe.ratio:
        yield from bench.calibrate()
    clock.lap("calibrate")

    kv = (yield from calibrate_latents.steps(bench, recipe.kv_method, recipe.kv_heads)) if recipe.kv_ratio else None
    kv_plan = kv and kv.plan(recipe.kv_ratio, recipe.kv_allocator)
    if kv:
        clock.lap("latents")

    spectra = (yield from bench.spectra(units)) if recipe.ratio else {}
    clock.lap("spectra")

    dense, latent = latent_weights(bench.loaded.anatomy.sites, units, kv, kv_plan)
    known = yield from learn(bench, recipe, replace(Knowledge.of(units, spectra), latents=(dense, latent)))
    clock.lap("sensitivity")

    plan = yield from plan_for(bench, recipe, known)
    clock.lap("plan")

    before = bench.loaded.parameters
    model = yield from compress.steps(bench, recipe, plan, consume)
    clock.lap("compress")

    return Compressed(
        recipe,
        plan,
        units,
        replace(bench.loaded, model=model),
        predicted_nll(plan, spectra) + (kv.predicted(kv_plan) if kv else 0.0),
        clock.seconds,
        before,
        before - sum(u.parameters - cost(u, plan.ranks[u.path]) for u in units) - dense + latent,
        model.dtype.itemsize,
        kv,
        kv_plan,
    )


def learn(bench: Workbench, recipe: Recipe, known: Knowledge) -> Job[Knowledge]:
    """What the recipe wants measured before its plan: nothing, until the plan settles, or the whole table."""
    if recipe.measuring == "none":
        return known
    known = replace(known, points={u.path: bench.study.points(u) for u in known.grid.units})
    if recipe.measuring == "settled":
        return (yield from settle(bench, recipe, known)).known
    for point in (yield from bench.measure(whole_table(known.grid.units, recipe))):
        known = known.knowing(point)
    return known


def plan_for(bench: Workbench, recipe: Recipe, known: Knowledge) -> Job[Plan]:
    """The recipe's plan: for its ratio, or the smallest that keeps its target perplexity.

    BudgetNotFeasible where no plan keeps it.
    """
    if recipe.never_slower and recipe.ratio:
        known = replace(known, pace=(yield from measure_pace(bench.study, bench.loaded, known.grid.units)))
    if recipe.target is None:
        return make_plan(recipe, known)
    found = yield from reach(bench, recipe, known)
    if found.best is None:
        raise BudgetNotFeasible(
            f"No plan has a perplexity of {recipe.target:g} or less.", "Ask for more, or choose another method."
        )
    return found.best.plan


@job
def open_workbench(
    recipe: Recipe,
    store: Store | None = None,
    device: str | None = None,
    dtype: str | None = None,
    loaded: LoadedModel | None = None,
    held: int = 0,
) -> Job[Workbench]:
    """The Workbench of a recipe's model and text, loading the model, from the Hub if need be, unless it is given.

    `held`: bytes of factors that it may keep in memory, where that is more than it keeps anyway.
    """
    if loaded is None:
        loaded = yield from load_model.steps(recipe.model, device, dtype)
    study = open_study(
        recipe.model_copy(update={"window": recipe.window or loaded.window}),
        store or open_store(),
        loaded.device.type,
        loaded.dtype,
    )
    return Workbench(study, loaded, held)


@job
def compress(bench: Workbench, recipe: Recipe, plan: Plan, consume: bool = False) -> Job[nn.Module]:
    """A second model under a plan: factors in the planned units, every other tensor shared with the dense one.

    `consume`: the workbench's own model, which from now on is the compressed one and can be measured no more.
    """
    if consume:
        bench.forget_dense()
    model = bench.loaded.model if consume else share_copy(bench.loaded.model)
    yield from apply.steps(bench, recipe, plan, model)
    return model


@job
def apply(bench: Workbench, recipe: Recipe, plan: Plan, model: nn.Module) -> Job[None]:
    """Bring a model made by `compress` to another plan: for sliceable methods, slices exchanged in milliseconds."""
    units = units_of(bench.loaded.anatomy.sites, recipe)
    for path in (*(s.path for s in bench.loaded.anatomy.sites), bench.loaded.anatomy.norm):
        if path:
            put(model, path, bench.loaded.model.get_submodule(path))
    if recipe.kv_ratio:
        yield from put_latents.steps(bench, recipe, model)
    if recipe.ratio == 0:
        return
    if recipe.walk is not None:
        yield from walk_once(bench, recipe, plan, model)
        return
    if recipe.gradients and any(r is not None for r in plan.ranks.values()):
        yield from bench.collect_fisher()
    for i, unit in enumerate(units):
        rank = plan.ranks.get(unit.path)
        for path, module in (unit_modules(bench, unit, rank) if rank is not None else {}).items():
            put(model, path, module)
        yield Progress("compress", i + 1, len(units), unit.label)


@job
def evaluate(
    bench: Workbench,
    text: Text,
    model: nn.Module | None = None,
    recipe: Recipe | None = None,
    plan: Plan | None = None,
    windows: int = EVALUATION_WINDOWS,
    diverging: bool = False,
) -> Job[Measurement]:
    """Perplexity of the dense model, or of a recipe's plan, on a text; stored, never measured twice.

    `model`: the compressed model where it is at hand; it is made where it is not. `diverging`: measure the
    divergence of the plan's model from the dense one, too.
    """
    window, study = bench.source.window, bench.study
    known = study.evaluation(recipe, plan, text, windows) if plan else study.dense(text, windows)
    if known is not None and not (diverging and plan and known.divergence is None):
        return known
    own = bench.source.own_text(windows, window, held_out=True)
    text = yield from written(bench.loaded, bench.store, text, own)
    loaded = bench.loaded
    ids = cut_windows(loaded.tokenizer, text, windows, window, bos=loaded.bos)
    setting = Setting(text.label, len(ids), window, loaded.dtype, loaded.device.type, bos=loaded.bos is not None)
    if model is None:
        model = (yield from compress.steps(bench, recipe, plan)) if plan else bench.loaded.model
    found = yield from perplexity.steps(model, ids, setting, bench.loaded.model if diverging and plan else None)
    key = study.evaluation_key(recipe, plan, text, windows) if plan else study.dense_key(text, windows)
    bench.store.write(key, artefacts.pack_measurement(found))
    return found


class Clock:
    """Seconds spent per stage."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Book the time since the last lap to a stage."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now
