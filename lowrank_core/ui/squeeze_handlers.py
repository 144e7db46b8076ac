"""Squeeze: an answer from spectra while the slider moves, measurements once it rests."""

from __future__ import annotations

import time
from collections.abc import Generator

from ..calibration.texts import read_text
from ..errors import LowRankError
from ..jobs import Job
from ..study.knowledge import Knowledge
from ..study.planning import whole_table
from ..study.recipe import Recipe
from ..study.settling import Settling
from ..study.settling import settle as settle_points
from ..study.target import Tried, reach
from ..study.units import units_of
from ..types import Point
from .choices import HELD_OUT
from .device import one_job
from .drawing import Shown, draw, measured_line, recall, remember
from .house import House
from .relay import explain
from .running import Beat, Clock, told
from .view import View
from .words import error_line

States = Generator[tuple[Shown | None, str], None, None]  # what is drawn, and the status beside it
REST = 0.3  # seconds without a newer drag before anything is measured


def preview(house: House, recipe: Recipe, session: str, selected: str | None) -> tuple[Shown | None, str, int]:
    """What can be shown at once, from spectra; the error line, if any; and the turn this drag has."""
    turn = house.next_turn(session)
    visit = house.visit(session)
    try:
        view = house.view(recipe)
        if not view.ready:
            return None, "Not calibrated yet: it begins when the slider rests.", turn
        plan = visit.settle_on(recipe, view.plan())
        if view.saved:
            status = view.saved.sentence(house.host, view.units, view.removed(plan))
            return draw(view, visit, plan, {}, selected, status), "", turn
        status = recall(view, visit, plan) or "Predicted from spectra. Measuring starts when the slider rests."
        return draw(view, visit, plan, view.points, selected, status), "", turn
    except LowRankError as error:
        return None, explain(error), turn


def standing_plan(house: House, recipe: Recipe, session: str, selected: str | None) -> Shown | None:
    """What stands, drawn without beginning anything; None where the study is not there yet."""
    visit, view = house.visit(session), house.view(recipe)
    if not view.ready:
        return None
    plan = visit.plan if visit.plan and visit.recipe == recipe else view.plan()
    return draw(view, visit, plan, view.points, selected, "")


def settle(house: House, recipe: Recipe, session: str, turn: int, selected: str | None) -> States:
    """After a rest: what is missing is computed, points are measured one by one, the plan and its perplexity follow.

    Ends as soon as a newer turn begins; what was measured is stored.
    """
    visit = house.visit(session)
    time.sleep(REST)
    if visit.turn != turn or visit.settling == turn or house.view(recipe).saved:  # of that nothing is left to measure
        return
    visit.settling = turn
    yield from settled(house, recipe, session, turn, selected)


@one_job()
def settled(house: House, recipe: Recipe, session: str, turn: int, selected: str | None) -> States:
    """What `settle` does once the slider rests."""
    visit = house.visit(session)
    yield None, "Loading the model …"
    shown = house.view(recipe).ready
    bench = house.bench(recipe)
    for stage in prepare(bench, recipe):
        yield from told(house.steps(stage, session, turn))
        if visit.turn != turn:
            return
    view = house.view(recipe)
    if not shown and view.ready:  # what was computed is seen at once, before anything is measured
        plan = visit.settle_on(recipe, view.plan())
        yield draw(view, visit, plan, view.points, selected, "Predicted from spectra. Measuring …"), ""
    yield from measure(house, view, bench, session, turn, selected)


def prepare(bench, recipe: Recipe) -> tuple:
    """The jobs that bring a study to where it can be planned: statistics, then spectra, which a saved model lacks."""
    if bench.study.folder.compressed is not None:
        return (bench.calibrate(),)
    from ..study.latents import calibrate_latents

    latents = (calibrate_latents.steps(bench, recipe.kv_method, recipe.kv_heads),) if recipe.kv_ratio else ()
    return *latents, bench.calibrate(), bench.spectra(units_of(bench.body.sites, recipe))


@one_job()
def calibrated(house: House, recipe: Recipe, session: str, turn: int) -> States:
    """Statuses while what a model's plans need is computed; ends as soon as a newer turn begins."""
    bench = house.bench(recipe, dense=False)
    for stage in prepare(bench, recipe):
        yield from told(house.steps(stage, session, turn))


def measure(house: House, view: View, bench, session: str, turn: int, selected: str | None) -> States:
    """Points, the most decisive first, redrawn as they come, until the plan has settled or the whole table is there;
    then its perplexity. Where nothing measured could change the plan, it is judged at once."""
    recipe, visit = view.recipe, house.visit(session)
    known, lines, plots, clock = view.refresh(), Beat(), Beat(), Clock()
    if recipe.measuring != "none":
        for progress in house.steps(_measuring(bench, recipe, known), session, turn):
            if isinstance(progress.value, Settling):
                known, status = progress.value.known, standing(progress.value)
            elif isinstance(progress.value, Point):
                known, status = known.knowing(progress.value), clock.line(progress)
            else:
                status = clock.line(progress)
            if progress.value is not None:
                known = view.share(known)
            if visit.turn != turn:
                continue
            if progress.value is None and lines.due():
                yield None, status
            elif progress.value is not None and plots.due():
                plan = visit.settle_on(recipe, view.plan(known.points))
                yield draw(view, visit, plan, known.points, selected, f"{status} Stop keeps what is measured."), ""
        if visit.turn != turn:
            return
    if recipe.target is not None:
        yield from target(house, view, bench, known, session, turn, selected)
    else:
        yield from judged(house, view, bench, known, session, turn, selected)


def _measuring(bench, recipe: Recipe, known: Knowledge) -> Job:
    """The job that measures what the recipe wants measured."""
    if recipe.measuring == "settled":
        return settle_points(bench, recipe, known)
    return bench.measure(whole_table(known.grid.units, recipe))


def standing(now: Settling) -> str:
    """How far the plan has settled, in words."""
    change = "" if now.change == float("inf") else f" (in the last ten: {now.change:.1%})"
    return (
        f"Measuring: {now.measured} new points. Expected **+{now.expected:.3f}** nats{change}; "
        f"one more could move it by {now.move:.1%}, settled below 1 %."
    )


def judged(house: House, view: View, bench, known: Knowledge, session: str, turn: int, selected: str | None) -> States:
    """The plan of what is known, its perplexity measured, drawn as the present solid point."""
    from ..study.compress import evaluate

    visit, recipe = house.visit(session), view.recipe
    plan = visit.settle_on(recipe, view.plan(known.points))
    text = read_text(HELD_OUT)
    dense = yield from told(house.steps(evaluate.steps(bench, text), session, turn))
    now = dense and (yield from told(house.steps(evaluate.steps(bench, text, None, recipe, plan), session, turn)))
    if now:
        remember(view, visit, plan, now)
        status = f"{measured_line(dense, now)} {coverage(view, known)}"
        yield draw(view, visit, plan, known.points, selected, status), ""


def target(house: House, view: View, bench, known: Knowledge, session: str, turn: int, selected: str | None) -> States:
    """The search for the smallest model within the target perplexity, every probe a solid point of the trade-off."""
    visit, recipe, lines, beat, clock = house.visit(session), view.recipe, [], Beat(), Clock()
    steps = house.steps(reach(bench, recipe, known), session, turn)
    while True:
        try:
            progress = next(steps)
        except StopIteration as stop:
            found = stop.value
            break
        tried = progress.value
        if not isinstance(tried, Tried):
            said = clock.line(progress)
            if beat.due():
                yield None, said
            continue
        lines.append(f"{tried.ratio:.3f} → {tried.measured.perplexity:.2f}{'' if tried.within else ' ✗'}")
        remember(view, visit, tried.plan, tried.measured)
        status = f"Looking for the smallest model within {recipe.target:g} (ratio → perplexity): {', '.join(lines)}"
        yield draw(view, visit, visit.settle_on(recipe, tried.plan), known.points, selected, status), ""
    if found is None:
        return
    if found.best is None:
        yield None, error_line(f"No plan reaches {recipe.target:g}.", "Ask for more, or choose another method.")
        return
    best = found.best
    remember(view, visit, best.plan, best.measured)
    status = (
        f"Ratio **{best.ratio:.3f}** keeps perplexity **{best.measured.perplexity:.3f}** ≤ {recipe.target:g}: "
        f"{', '.join(lines)}. *{best.measured.setting}*"
    )
    yield draw(view, visit, visit.settle_on(recipe, best.plan), known.points, selected, status), ""


def coverage(view: View, known: Knowledge) -> str:
    """On how much of the sensitivity table the plan rests."""
    measured, whole = int((known.windows > 0).sum()), known.windows.size
    if view.recipe.measuring == "none" or not measured:
        return ""
    return f"The plan rests on {measured} of {whole} points." if measured < whole else "The table is complete."
