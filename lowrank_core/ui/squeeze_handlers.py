"""Squeeze: an answer from spectra while the slider moves, measurements once it rests."""

from __future__ import annotations

import time
from collections.abc import Generator

from ..allocation import ALLOCATORS
from ..calibration.texts import read_text
from ..errors import LowRankError
from ..jobs import Progress
from ..settings import CANDIDATES
from ..study.planning import Points, measuring_order
from ..study.recipe import Recipe
from ..study.units import units_of
from .device import one_job
from .drawing import HELD_OUT, Shown, draw, measured_line, recall, remember
from .house import House
from .relay import explain
from .view import View

States = Generator[tuple[Shown | None, str], None, None]  # what is drawn, and the status beside it
REST = 0.3  # seconds without a newer drag before anything is measured
FRAME = 0.5  # seconds between redrawn plots while points arrive


def preview(house: House, recipe: Recipe, session: str, selected: str | None) -> tuple[Shown | None, str, int]:
    """What can be shown at once, from spectra; the error line, if any; and the turn this drag has."""
    turn = house.next_turn(session)
    visit = house.visit(session)
    try:
        view = house.view(recipe)
        if not view.ready:
            return None, "Not calibrated yet: it begins when the slider rests.", turn
        points = view.points
        plan = visit.settle_on(recipe, view.plan(points))
        status = recall(view, visit, plan) or "Predicted from spectra. Measuring starts when the slider rests."
        return draw(view, visit, plan, points, selected, status), "", turn
    except LowRankError as error:
        return None, explain(error), turn


def settle(house: House, recipe: Recipe, session: str, turn: int, selected: str | None) -> States:
    """After a rest: what is missing is computed, points are measured one by one, the plan and its perplexity follow.

    Ends as soon as a newer turn begins; what was measured is stored.
    """
    visit = house.visit(session)
    time.sleep(REST)
    if visit.turn != turn or visit.settling == turn:
        return
    visit.settling = turn
    yield from settled(house, recipe, session, turn, selected)


@one_job()
def settled(house: House, recipe: Recipe, session: str, turn: int, selected: str | None) -> States:
    """What `settle` does once the slider rests."""
    visit = house.visit(session)
    yield None, "Loading the model …"
    bench = house.bench(recipe)
    for stage in prepare(bench, recipe):
        yield from told(house.steps(stage, session, turn))
        if visit.turn != turn:
            return
    yield from measure(house, house.view(recipe), bench, session, turn, selected)


def prepare(bench, recipe: Recipe) -> tuple:
    """The jobs that bring a study to where it can be planned: statistics, then spectra."""
    return bench.calibrate(), bench.spectra(units_of(bench.body.sites, recipe))


@one_job()
def calibrated(house: House, recipe: Recipe, session: str, turn: int) -> States:
    """Statuses while what a model's plans need is computed; ends as soon as a newer turn begins."""
    bench = house.bench(recipe)
    for stage in prepare(bench, recipe):
        yield from told(house.steps(stage, session, turn))


def told(steps: Generator) -> States:
    """A job's progress as status lines, a few a second; returns what the job returns."""
    last = 0.0
    while True:
        try:
            progress = next(steps)
        except StopIteration as stop:
            return stop.value
        if time.monotonic() - last > FRAME:
            last = time.monotonic()
            yield None, line_of(progress)


def line_of(progress: Progress) -> str:
    """A job's progress in words."""
    return f"{progress.stage.capitalize()}: {progress.done} of {progress.total} {progress.item}"


def measure(house: House, view: View, bench, session: str, turn: int, selected: str | None) -> States:
    """Points in the order of their weight for the present ratio, redrawn as they come; the plan is judged once the
    nearest candidate of every layer is measured, and again when all are. Where they do not change it, it is judged
    first, and its perplexity stays on the line; after a walk none is measured, for its factors are no method's."""
    recipe, visit = view.recipe, house.visit(session)
    points = {path: dict(found) for path, found in view.points.items()}
    order = [(u, k) for u, k in measuring_order(view.units, recipe, view.spectra) if k not in points.get(u.path, {})]
    near = max(0, len(order) - (len(CANDIDATES) - 1) * len(view.units))
    found = ""
    if recipe.walk or not ALLOCATORS[recipe.allocator].measures:
        found = yield from judged(house, view, bench, points, session, turn, selected)
    if recipe.walk:
        return
    fresh, began, last = 0, time.monotonic(), 0.0
    for part in (order[:near], order[near:]):
        for progress in house.steps(bench.measure(part), session, turn):
            if progress.value is None:
                if time.monotonic() - last > FRAME:
                    last = time.monotonic()
                    yield None, line_of(progress)
                continue
            points.setdefault(progress.value.path, {})[progress.value.keep] = progress.value
            fresh += 1
            if time.monotonic() - last > FRAME and visit.turn == turn:
                last = time.monotonic()
                left = (last - began) / fresh * (len(order) - fresh)
                at = f"{fresh} of {len(order)} points ({progress.item}), {left:.0f} s left. Stop keeps them."
                status = f"{found}\n\nMeasuring: {at}".strip()
                yield draw(view, visit, visit.settle_on(recipe, view.plan(points)), points, selected, status), ""
        if visit.turn != turn:
            return
        if part or not order:
            yield from judged(house, view, bench, points, session, turn, selected)


def judged(house: House, view: View, bench, points: Points, session: str, turn: int, selected: str | None) -> States:
    """The plan of these points, its perplexity measured, drawn as the present solid point; returns what it says."""
    from ..study.compress import evaluate

    visit, recipe = house.visit(session), view.recipe
    plan = visit.settle_on(recipe, view.plan(points))
    text = read_text(HELD_OUT)
    dense = yield from told(house.steps(evaluate.steps(bench, text), session, turn))
    now = dense and (yield from told(house.steps(evaluate.steps(bench, text, None, recipe, plan), session, turn)))
    if now:
        remember(view, visit, plan, now)
        yield draw(view, visit, plan, points, selected, measured_line(dense, now)), ""
        return measured_line(dense, now)
    return ""
