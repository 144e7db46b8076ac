"""Perplexity of every method, allocator, ratio and seed: nothing is computed or measured twice."""

import time

from ..calibration.texts import Text, read_text
from ..jobs import Job, Progress, job
from ..models.loading import LoadedModel, load_model
from ..store import Store
from ..study.build import Workbench
from ..study.compress import compress, evaluate, learn, open_workbench
from ..study.knowledge import Knowledge
from ..study.planning import make_plan
from ..study.recipe import Recipe
from ..study.units import units_of
from ..types import Measurement, Plan, Unit
from .grid import Grid, Quality, Row, label_of


@job
def quality(
    grid: Grid,
    store: Store | None = None,
    device: str | None = None,
    dtype: str | None = None,
    loaded: LoadedModel | None = None,
) -> Job[Quality]:
    """The Quality of a grid. Stopped at any point, it goes on from what the store knows.

    Raises the LowRankError of the first combination that fails: a failure is no row.
    """
    groups, texts = grid.recipes(), [read_text(name) for name in grid.texts]
    if loaded is None:
        loaded = yield from load_model.steps(grid.model, device, dtype)
    bench = open_workbench(groups[0][0], store, loaded=loaded)
    dense = {}
    for text in texts:
        dense[text.name] = yield from evaluate.steps(bench, text, windows=grid.test_windows)
    rows: list[Row] = []
    for i, recipes in enumerate(groups):
        bench = open_workbench(recipes[0], store, loaded=loaded)  # its factors go with it: one method's at a time
        first = recipes[0]
        where = f"{label_of(first)[0]}, {first.storage}, {first.text}, seed {first.seed} ({i + 1} of {len(groups)})"
        rows += yield from _under(where, _group(bench, recipes, texts, dense, grid.test_windows))
    return Quality(grid, loaded.dtype, loaded.device.type, dense, tuple(rows))


def _under(label: str, steps: Job) -> Job:
    """The same job, its progress naming what it belongs to."""
    try:
        while True:
            try:
                p = next(steps)
            except StopIteration as stop:
                return stop.value
            yield Progress(p.stage, p.done, p.total, f"{label}: {p.item}", p.value)
    finally:
        steps.close()


def _group(
    bench: Workbench, recipes: list[Recipe], texts: list[Text], dense: dict[str, Measurement], windows: int
) -> Job[list[Row]]:
    """The rows of recipes that differ in allocator and ratio only."""
    yield from bench.calibrate()
    units = units_of(bench.loaded.anatomy.sites, recipes[0])
    bare = Knowledge.of(units, (yield from bench.spectra(units)))
    rows = []
    for recipe in recipes:
        began = time.perf_counter()
        plan = make_plan(recipe, (yield from learn(bench, recipe, bare)))
        model = None
        for text in texts:
            if model is None and not _is_known(bench, recipe, plan, text, windows):
                model = compress(bench, recipe, plan)
            found = yield from evaluate.steps(bench, text, model, recipe, plan, windows, diverging=True)
            rows.append(_row(bench, recipe, units, plan, text, found, dense[text.name], time.perf_counter() - began))
            yield Progress("quality", len(rows), len(recipes) * len(texts), f"ratio {recipe.ratio:g}", rows[-1])
            began = time.perf_counter()
    return rows


def _is_known(bench: Workbench, recipe: Recipe, plan: Plan, text: Text, windows: int) -> bool:
    """Whether the store has this measurement, so that no model need be built for it."""
    found = bench.study.evaluation(recipe, plan, text, windows)
    return found is not None and found.divergence is not None


def _row(
    bench: Workbench,
    recipe: Recipe,
    units: tuple[Unit, ...],
    plan: Plan,
    text: Text,
    found: Measurement,
    dense: Measurement,
    seconds: float,
) -> Row:
    parameters = bench.loaded.parameters - sum(u.parameters for u in units) + plan.kept(units)
    return Row(
        recipe.text,
        *label_of(recipe),
        recipe.ratio,
        plan.ratio(units),
        recipe.seed,
        parameters,
        parameters * bench.loaded.model.dtype.itemsize,
        text.name,
        found.nll - dense.nll,
        found.perplexity,
        found.divergence.kl,
        found.divergence.agreement,
        seconds,
    )
