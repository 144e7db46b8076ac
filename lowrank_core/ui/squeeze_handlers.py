"""Squeeze: an answer from spectra while the slider moves, measurements once it rests."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from .. import plots
from ..calibration.texts import read_text
from ..errors import LowRankError
from ..methods import METHODS
from ..settings import CANDIDATES
from ..study.planning import loss_curves, measuring_order
from ..study.recipe import Recipe
from ..types import Measurement, Plan, rank_at
from .house import House, Visit
from .view import View
from .words import count, error_line, percent, size

LABELS = {key: method.label for key, method in METHODS.items()}
REST = 0.3  # seconds without a newer drag before anything is measured
FRAME = 0.5  # seconds between redrawn plots while points arrive
GRID = tuple(i / 10 for i in range(1, 8))  # ratios of the predicted trade-off curves


@dataclass(frozen=True)
class Shown:
    """One state of the page's right side."""

    sensitivity: object
    plan: object
    tradeoff: object
    captions: tuple[str, str, str]
    readout: str
    status: str


def held_out(recipe: Recipe) -> str:
    """The name of the text a plan is judged on."""
    return "demo-test" if recipe.text == "demo" else recipe.text


def draw(view: View, visit: Visit, plan: Plan, points, selected: str | None, status: str) -> Shown:
    """Plots E, F and G, their captions and the readout, from a plan and the points measured so far."""
    sites, recipe = view.body.sites, view.recipe
    keeps = np.array(CANDIDATES)
    raw = {
        s.path: (keeps, np.array([float(view.spectra[s.path].predicted(rank_at(s, k))) for k in CANDIDATES]))
        for s in sites
    }
    curves = loss_curves(view.spectra, points)
    share = {p: float(curves[p][r]) if r is not None else 0.0 for p, r in plan.ranks.items()}
    measured = sum(len(v) for v in points.values())
    return Shown(
        plots.sensitivity_curves(raw, points, sites, selected, 1 - recipe.ratio),
        plots.plan_map(plan, sites, share, selected),
        plots.tradeoff(predicted_curves(view), visit.measured, dense_point(view), LABELS),
        (
            plots.sensitivity_caption(measured, len(sites) * len(CANDIDATES)),
            plots.plan_caption(plan, sites),
            plots.tradeoff_caption(len(visit.measured)),
        ),
        readout(view, plan),
        status,
    )


_CURVES: dict[tuple, dict] = {}


def predicted_curves(view: View) -> dict[str, list[tuple[float, float]]]:
    """method → (bytes, predicted perplexity) over a grid of ratios, from spectra alone."""
    dense = view.study.evaluation(None, {}, {}, read_text(held_out(view.recipe)), 64, view.study.source.window)
    key = (view.study.source, view.recipe.allocator, tuple(sorted(view.recipe.parameters.items())), dense and dense.nll)
    if dense is None:
        return {}
    if key not in _CURVES:
        found = {}
        for method in METHODS:
            spectra = view.spectra_of(method)
            if not spectra:
                continue
            parameters = view.recipe.parameters if method == view.recipe.method else {}
            base = Recipe(
                model=view.recipe.model,
                text=view.recipe.text,
                method=method,
                parameters=parameters,
                allocator=view.recipe.allocator,
            )
            row = []
            for ratio in GRID:
                other = View(base.model_copy(update={"ratio": ratio}), view.study)
                other.__dict__.update(body=view.body, spectra=spectra)
                plan = other.plan({})
                row.append((other.bytes_of(plan), float(np.exp(dense.nll + other.predicted(plan)))))
            found[method] = row
        _CURVES[key] = found
    return _CURVES[key]


def dense_point(view: View) -> tuple[float, float] | None:
    """(bytes, perplexity) of the dense model, once measured."""
    dense = view.study.evaluation(None, {}, {}, read_text(held_out(view.recipe)), 64, view.study.source.window)
    return dense and (view.body.parameters * view.body.element_size, dense.perplexity)


def readout(view: View, plan: Plan) -> str:
    """The plan in one line: what goes, what stays, what is predicted."""
    body = view.body
    dense = sum(1 for r in plan.ranks.values() if r is None)
    whole = body.parameters * body.element_size
    return (
        f"Removes **{percent(plan.ratio(body.sites))}** of the layers' parameters; whole model {size(view.bytes_of(plan))} of "
        f"{size(whole)} ({percent(1 - view.bytes_of(plan) / whole)} smaller). {dense} of {len(body.sites)} layers stay dense. "
        f"Predicted: **+{view.predicted(plan):.3f}** nats per token."
    )


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
        return (
            draw(
                view, visit, plan, points, selected, "Predicted from spectra. Measuring starts when the slider rests."
            ),
            "",
            turn,
        )
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
                            f"Measuring: {fresh} of {len(order)} points ({progress.item}), {left:.0f} s left. Stop keeps them."
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
                (
                    f"Measured: perplexity **{now.perplexity:.3f}**, dense {dense.perplexity:.3f} "
                    f"({now.nll - dense.nll:+.4f} nats per token). *{now.setting}*"
                ),
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
    for m in visit.measured:
        m["now"] = False
    visit.measured.append(
        {
            "method": recipe.method,
            "ratio": plan.ratio(view.body.sites),
            "bytes": view.bytes_of(plan),
            "perplexity": now.perplexity,
            "label": f"{LABELS[recipe.method]}, {recipe.allocator}, ratio {recipe.ratio:g}; {now.setting}",
            "now": True,
        }
    )
    return dense, now


def header(view: View | None, plan: Plan | None, recipe: Recipe, status: str, memory: str = "") -> str:
    """The strip's HTML: what is loaded, what it weighs, what it became, what runs."""
    if view is None or view.body is None:
        return f"<span>{recipe.model}</span><span>{status}</span>"
    body, source = view.body, view.study.source
    now = ""
    if plan is not None:
        kept = body.parameters - body.site_parameters + plan.kept(body.sites)
        now = f"<span>{LABELS[recipe.method]} · keep {percent(1 - plan.ratio(body.sites))} · {count(kept)} · {size(view.bytes_of(plan))}</span>"
    return (
        f"<span><b>{view.study.folder.path.name if recipe.model != 'demo' else 'demo'}</b> @ {source.model[:7]} · {source.dtype} · "
        f"{source.device}</span><span>dense {count(body.parameters)} · {size(body.parameters * body.element_size)}</span>{now}"
        f"{memory}<span>{status}</span>"
    )
