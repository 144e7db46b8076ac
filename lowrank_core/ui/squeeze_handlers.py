"""Squeeze: an answer from spectra while the slider moves, measurements once it rests."""

from __future__ import annotations

import time
from collections.abc import Generator

from ..calibration.texts import read_text
from ..errors import LowRankError
from ..methods import METHODS
from ..settings import CANDIDATES
from ..study.planning import measuring_order
from ..study.recipe import Recipe
from ..types import Measurement, Plan
from .drawing import Shown, draw, held_out, measured_line, recall, remember
from .house import House
from .view import View
from .words import error_line

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
        plan = view.plan(points)
        visit.recipe, visit.plan = recipe, plan
        status = recall(view, visit, plan) or "Predicted from spectra. Measuring starts when the slider rests."
        return draw(view, visit, plan, points, selected, status), "", turn
    except LowRankError as error:
        return None, error_line(error.message, error.hint), turn


def settle(
    house: House, recipe: Recipe, session: str, turn: int, selected: str | None
) -> Generator[tuple[Shown | None, str], None, None]:
    """After a rest: what is missing is computed, points are measured one by one, the plan and its perplexity follow.

    Ends as soon as a newer turn begins; what was measured is stored.
    """
    visit = house.visit(session)
    time.sleep(REST)
    if visit.turn != turn:
        return
    try:
        yield None, "Loading the model …"
        bench = house.bench(recipe)
        parameters = METHODS[recipe.method].settle(recipe.parameters)
        for stage in (bench.calibrate(), bench.spectra(recipe.method, parameters)):
            last = 0.0
            for progress in house.steps(stage, session, turn):
                if time.monotonic() - last > FRAME:
                    last = time.monotonic()
                    yield None, f"{progress.stage.capitalize()}: {progress.done} of {progress.total} ({progress.item})"
            if visit.turn != turn:
                return
        view = house.view(recipe)
        yield from measure(house, view, bench, session, turn, selected)
    except LowRankError as error:
        yield None, error_line(error.message, error.hint)


def measure(house: House, view: View, bench, session: str, turn: int, selected: str | None):
    """Points in the order of their weight for the present ratio, redrawn as they come; the plan is judged once the
    nearest candidate of every layer is measured, and again when all are."""
    recipe, visit = view.recipe, house.visit(session)
    parameters = METHODS[recipe.method].settle(recipe.parameters)
    points = {path: dict(found) for path, found in view.points.items()}
    order = [(p, k) for p, k in measuring_order(view.body.sites, recipe, view.spectra) if k not in points.get(p, {})]
    near = len(order) - (len(CANDIDATES) - 1) * len(view.body.sites)
    fresh, began, last = 0, time.monotonic(), 0.0
    for part in (order[: max(near, 0)], order[max(near, 0) :]):
        if not part:
            continue
        for progress in house.steps(bench.measure(recipe.method, parameters, part), session, turn):
            if progress.value is None:
                continue
            points.setdefault(progress.value.path, {})[progress.value.keep] = progress.value
            fresh += 1
            if time.monotonic() - last > FRAME:
                last = time.monotonic()
                plan = visit.plan = view.plan(points)
                left = (last - began) / fresh * (len(order) - fresh)
                yield (
                    draw(
                        view,
                        visit,
                        plan,
                        points,
                        selected,
                        (
                            f"Measuring: {fresh} of {len(order)} points ({progress.item}), "
                            f"{left:.0f} s left. Stop keeps them."
                        ),
                    ),
                    "",
                )
        if visit.turn != turn:
            return
        yield from judged(house, view, bench, points, session, turn, selected)
    if not order:
        yield from judged(house, view, bench, points, session, turn, selected)


def judged(house: House, view: View, bench, points, session: str, turn: int, selected: str | None):
    """The plan of these points, its perplexity measured, drawn."""
    visit = house.visit(session)
    plan = visit.plan = view.plan(points)
    found = yield from judge(house, view, bench, plan, session, turn)
    if found:
        dense, now = found
        yield (
            draw(
                view,
                visit,
                plan,
                points,
                selected,
                measured_line(dense, now),
            ),
            "",
        )


def judge(house: House, view: View, bench, plan: Plan, session: str, turn: int):
    """(dense, compressed) Measurements on the held-out text, kept as a solid point; None where superseded."""
    from ..study.compress import compress, evaluate

    recipe, visit = view.recipe, house.visit(session)
    text = read_text(held_out(recipe))
    results: list[Measurement] = []
    for job in (evaluate.steps(bench, text), evaluate.steps(bench, text, compress(bench, recipe, plan), recipe, plan)):
        found = None
        stepping = house.steps(job, session, turn)
        while True:
            try:
                progress = next(stepping)
            except StopIteration as stop:
                found = stop.value
                break
            yield None, f"Perplexity: {progress.done} of {progress.total} windows"
        if found is None:
            return None
        results.append(found)
    dense, now = results
    remember(view, visit, plan, now)
    return dense, now
