"""What the Measure page computes: the comparison of Squeeze's plan with the dense model, and the sweep."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..bench.grid import Grid, Quality, Row
from ..bench.tables import summaries
from ..calibration.texts import Text, read_text
from ..errors import BadValue
from ..methods import METHODS
from ..plots.quality import quality_caption, quality_plot
from ..report.table import comparison, rows_table
from ..settings import EVALUATION_WINDOWS
from ..study.recipe import PRESETS, Recipe
from . import sides
from .device import one_job
from .house import House
from .running import Beat, Clock, told
from .saved import Saved, saved_at
from .sides import Side
from .words import percent, recipe_label

if TYPE_CHECKING:
    from ..study.compare import Comparison

Step = tuple[Any, str]  # what was found, if anything, and the status


def lane_of(session: str) -> str:
    """The name a session's measurements go by: they neither stop nor are stopped by its dragging."""
    return f"{session}/measure"


def sweep_lane(session: str) -> str:
    return lane_of(session) + "/sweep"


@one_job(lane_of)
def compare(house: House, recipe: Recipe, session: str, texts: Sequence[str]) -> Generator[Step, None, None]:
    """The Comparison of Squeeze's plan, after statuses; None where it was stopped. A newer turn ends it."""
    lane = lane_of(session)
    turn = house.next_turn(lane)
    for name in texts:
        house.host.check_text(name)
    named = [read_text(name) for name in texts]
    yield None, "Loading the model …"
    if own := saved_at(recipe.model):
        found, said = (yield from _saved(house, own, recipe, lane, turn, named)), own.way_on(house.host)
        said = "" if own.dense(house.host) else f"Of the saved model alone. {said}"
    else:
        found, said = (yield from _planned(house, recipe, session, lane, turn, named)), ""
    if found is not None:
        yield found, said
        return
    yield None, "Stopped. The perplexities measured so far are kept."


def _planned(house: House, recipe: Recipe, session: str, lane: str, turn: int, texts: list[Text]):
    """The Comparison of a recipe's plan with its dense model."""
    ready = yield from sides.ready(house, Side("", recipe), recipe, session, lane, turn)
    if ready is None:
        return None
    from ..study import compare as story

    job = story.compare.steps(ready.bench, recipe, ready.plan, ready.model, ready.units, texts)
    return (yield from told(house.steps(job, lane, turn)))


def _saved(house: House, own: Saved, recipe: Recipe, lane: str, turn: int, texts: list[Text]):
    """The Comparison of a saved model with the dense one it was made from, where that is at hand."""
    base = own.base if own.dense(house.host) else None
    with house.models.using(base) if base else nullcontext():
        bench = house.bench(recipe, dense=False)
        dense = house.bench(recipe.model_copy(update={"model": base})) if base else None
        from ..study import compare as story

        units = own.units(bench.body.sites)
        job = story.compare_saved.steps(bench, dense, own.plan(units).ratio(units), texts)
        return (yield from told(house.steps(job, lane, turn)))


def table(found: Comparison, recipe: Recipe) -> str:
    """The comparison as an HTML table."""
    own = saved_at(recipe.model)
    worse = sum(line.worse for line in found.lines)
    caption = (
        f"{own.label if own else recipe_label(recipe)}: {percent(found.ratio)} of the layers' parameters removed. "
        f"{worse} of {len(found.lines)} figures are worse."
    )
    return comparison(found.lines, caption)


def grid_of(recipe: Recipe, methods: Sequence[str], ratios: Sequence[float], text: str) -> Grid:
    """The sweep's Grid, with Squeeze's text, seed, allocator and storage; BadValue where nothing is chosen."""
    if not methods or not ratios:
        raise BadValue("The sweep has nothing to measure.", "Choose a method and a ratio.")
    return Grid(
        model=recipe.model,
        calibrate=(recipe.text,),
        texts=(text,),
        ratios=tuple(sorted(ratios)),
        methods=tuple(m for m in methods if m in METHODS),
        allocators=(recipe.allocator,),
        seeds=(recipe.seed,),
        windows=recipe.windows,
        test_windows=EVALUATION_WINDOWS,
        window=recipe.window,
        probe_windows=recipe.probe_windows,
        storages=("pivoted" if recipe.storage == "pivoted" else "factored",),
        presets=tuple(m for m in methods if m in PRESETS),
    )


@one_job(sweep_lane)
def sweep(house: House, grid: Grid, session: str) -> Generator[Step, None, None]:
    """Quality states that grow row by row, with statuses; a newer turn ends it, and what was measured is stored."""
    lane = sweep_lane(session)
    turn = house.next_turn(lane)
    for name in grid.texts:
        house.host.check_text(name)
    total = len(grid.ratios) * len(grid.labels()) * len(grid.texts)
    yield None, "Loading the model …"
    bench = house.bench(grid.recipes()[0][0])
    from ..bench.quality import quality
    from ..study.compress import evaluate

    loaded = bench.loaded
    dense = {}
    for name in grid.texts:
        job = evaluate.steps(bench, read_text(name), windows=grid.test_windows)
        dense[name] = yield from told(house.steps(job, lane, turn))
    rows: list[Row] = []
    beat, clock = Beat(), Clock()
    for progress in house.steps(quality.steps(grid, house.store, loaded=loaded), lane, turn):
        if progress.stage == "quality":
            rows.append(progress.value)
            yield Quality(grid, loaded.dtype, loaded.device.type, dense, tuple(rows)), f"{len(rows)} of {total} rows."
        else:
            line = clock.line(progress)
            if beat.due():
                yield None, f"{len(rows)} of {total} rows. {line}"
    if house.visit(lane).turn == turn:
        yield None, f"All {total} rows measured."
    else:
        yield None, f"Stopped after {len(rows)} of {total} rows. Sweep again to go on: nothing is measured twice."


def drawn(found: Quality) -> tuple:
    """The sweep's plot, its caption, and its tables."""
    text = found.grid.texts[0]
    dense = found.dense[text].perplexity
    figure = quality_plot(found.rows, text, dense)
    figure.update_layout(title=None)  # the caption says it
    tables = [rows_table(s.columns, s.rows, s.caption) for s in summaries(found)]
    return figure, quality_caption(text, dense), "".join(tables)
