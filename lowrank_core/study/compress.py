"""The story of a compression, from a text to a smaller model. Start reading here.

text → windows → statistics (one pass) → spectra (one factorization per site, good for every rank)
     → sensitivity (measured, where the allocator wants it) → plan → compressed model → perplexity
"""

import time
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..allocation import ALLOCATORS
from ..calibration.texts import Text
from ..calibration.windows import cut_windows
from ..evaluation.perplexity import perplexity
from ..jobs import Job, Progress, job
from ..methods import METHODS
from ..models.loading import LoadedModel, load_model
from ..models.surgery import factored, put, share_copy
from ..settings import EVALUATION_WINDOWS
from ..store import Store
from ..types import Measurement, Plan, Setting, cost
from . import artefacts
from .build import Workbench
from .own_text import written
from .planning import make_plan, measuring_order, predicted_nll
from .read import open_store, open_study
from .recipe import Recipe


@dataclass(frozen=True)
class Compressed:
    """A compressed model and what is known about it; `model` shares every tensor that was not replaced."""

    recipe: Recipe
    plan: Plan
    loaded: LoadedModel
    predicted_nll: float  # nats per token above dense, from spectra
    seconds: dict[str, float]  # stage → seconds
    parameters_before: int  # of the whole model
    parameters_after: int
    element_size: int  # bytes per parameter

    @property
    def ratio_achieved(self) -> float:
        """Share of the sites' parameters removed, counted from the integer ranks."""
        return self.plan.ratio(self.loaded.anatomy.sites)


@job
def run(
    recipe: Recipe,
    store: Store | None = None,
    device: str | None = None,
    dtype: str | None = None,
    loaded: LoadedModel | None = None,
) -> Job[Compressed]:
    """The Compressed model of a recipe. Whatever the store knows is not computed again.

    Raises the LowRankError of the stage that fails; nothing stored is lost.
    """
    clock = Clock()
    bench = open_workbench(recipe, store, device, dtype, loaded)
    parameters = METHODS[recipe.method].settle(recipe.parameters)
    clock.lap("load")

    yield from bench.calibrate()
    clock.lap("calibrate")

    spectra = yield from bench.spectra(recipe.method, parameters)
    clock.lap("spectra")

    sites = bench.loaded.anatomy.sites
    points = {}
    if ALLOCATORS[recipe.allocator].measures:
        order = measuring_order(sites, recipe, spectra)
        for point in (yield from bench.measure(recipe.method, parameters, order)):
            points.setdefault(point.path, {})[point.keep] = point
    clock.lap("sensitivity")

    plan = make_plan(sites, recipe, spectra, points)
    clock.lap("plan")

    model = yield from compress.steps(bench, recipe, plan)
    clock.lap("compress")

    before = bench.loaded.parameters
    return Compressed(
        recipe,
        plan,
        replace(bench.loaded, model=model),
        predicted_nll(plan, spectra),
        clock.seconds,
        before,
        before - sum(s.parameters - cost(s, plan.ranks[s.path]) for s in sites),
        model.dtype.itemsize,
    )


def open_workbench(
    recipe: Recipe,
    store: Store | None = None,
    device: str | None = None,
    dtype: str | None = None,
    loaded: LoadedModel | None = None,
) -> Workbench:
    """The Workbench of a recipe's model and text, loading the model unless it is given."""
    loaded = loaded or load_model(recipe.model, device, dtype)
    study = open_study(
        recipe.model_copy(update={"window": recipe.window or loaded.window}),
        store or open_store(),
        loaded.device.type,
        loaded.dtype,
    )
    return Workbench(study, loaded)


@job
def compress(bench: Workbench, recipe: Recipe, plan: Plan) -> Job[nn.Module]:
    """A second model under a plan: factors in the planned sites, every other tensor shared with the dense one."""
    model = share_copy(bench.loaded.model)
    yield from apply.steps(bench, recipe, plan, model)
    return model


@job
def apply(bench: Workbench, recipe: Recipe, plan: Plan, model: nn.Module) -> Job[None]:
    """Bring a model made by `compress` to another plan: for sliceable methods, slices exchanged in milliseconds."""
    parameters = METHODS[recipe.method].settle(recipe.parameters)
    for i, (path, rank) in enumerate(plan.ranks.items()):
        dense = bench.loaded.model.get_submodule(path)
        if rank is None:
            put(model, path, dense)
        else:
            cut = bench.factors(path, recipe.method, parameters, rank)
            put(model, path, factored(dense, cut.left, cut.right))
        yield Progress("compress", i + 1, len(plan.ranks), bench.sites[path].label)


@job
def evaluate(
    bench: Workbench,
    text: Text,
    model: nn.Module | None = None,
    recipe: Recipe | None = None,
    plan: Plan | None = None,
    windows: int = EVALUATION_WINDOWS,
) -> Job[Measurement]:
    """Perplexity of the dense model, or of a recipe's plan, on a text; stored, never measured twice.

    `model`: the compressed model where it is at hand; it is made where it is not.
    """
    window = bench.source.window
    method = recipe.method if recipe else None
    parameters = METHODS[recipe.method].settle(recipe.parameters) if recipe else {}
    ranks = dict(plan.ranks) if plan else {}
    known = bench.study.evaluation(method, parameters, ranks, text, windows, window)
    if known is not None:
        return known
    own = bench.source.own_text(windows, window, held_out=True)
    text = yield from written(bench.loaded, bench.store, text, own)
    ids = cut_windows(bench.loaded.tokenizer, text, windows, window)
    setting = Setting(text.label, len(ids), window, bench.loaded.dtype, bench.loaded.device.type)
    if model is None:
        model = (yield from compress.steps(bench, recipe, plan)) if plan else bench.loaded.model
    found = yield from perplexity.steps(model, ids, setting)
    key = bench.source.evaluation(method, parameters, ranks, text.digest, windows, window)
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
