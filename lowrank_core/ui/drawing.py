"""The right side of the Squeeze page from stored values, with no model run.

Plots E, F, G, the readout and the header strip.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from .. import plots
from ..calibration.texts import read_text
from ..errors import LowRankError
from ..settings import CANDIDATES, COMPARED, EVALUATION_WINDOWS
from ..study.knowledge import Knowledge
from ..study.planning import make_plan
from ..study.recipe import Recipe
from ..types import Measurement, Plan
from .choices import HELD_OUT
from .view import View
from .visits import Visit
from .words import LABELS, count, percent, recipe_label, size

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


def draw(view: View, visit: Visit, plan: Plan, points, selected: str | None, status: str) -> Shown:
    """Plots E, F and G, their captions and the readout, from a plan and the points measured so far."""
    if view.saved:
        return draw_saved(view, plan, selected, status)
    sites, recipe = view.units, view.recipe
    keeps, known = np.array(CANDIDATES), view.knowing(points)
    raw = {s.path: (keeps, row) for s, row in zip(sites, known.grid.predicted, strict=True)}
    share = {p: float(known.curves[p][r]) if r is not None else 0.0 for p, r in plan.ranks.items()}
    measured = int((known.windows > 0).sum())
    return Shown(
        plots.sensitivity_curves(raw, points, sites, selected, 1 - recipe.ratio, _believed(known, selected)),
        plots.plan_map(plan, sites, share, selected),
        plots.tradeoff(predicted_curves(view), visit.measured, dense_point(view), LABELS),
        (
            f"{plots.sensitivity_caption(measured, len(sites) * len(CANDIDATES))} {how_found(view)}",
            plots.plan_caption(plan, sites),
            plots.tradeoff_caption(len(visit.measured), f"{recipe.allocator}, {recipe.storage}"),
        ),
        readout(view, plan),
        status,
    )


def draw_saved(view: View, plan: Plan, selected: str | None, status: str) -> Shown:
    """The same of a model that was saved compressed: its plan, and its own perplexity where that was measured."""
    units, own = view.units, view.saved
    measured = []
    now = view.study.dense(read_text(HELD_OUT), EVALUATION_WINDOWS)  # of the model in the folder
    if now is not None:
        method = own.recipe.method if own.recipe else view.recipe.method
        label = f"{own.name}: {own.label}; {now.setting}"
        measured = [{"method": method, "bytes": view.bytes_of(plan), "perplexity": now.perplexity, "label": label,
                     "now": True}]  # fmt: skip
    return Shown(
        plots.nothing("The layers are compressed already: nothing is left to search."),
        plots.plan_map(plan, units, {}, selected),
        plots.tradeoff({}, measured, None, LABELS)
        if measured
        else plots.nothing("Measure, on its own page, puts the model here."),
        (
            "What a layer loses is measured on the dense model.",
            plots.plan_caption(plan, units),
            "Solid: the saved model, measured." if measured else "Not measured yet.",
        ),
        f"Removed: **{percent(view.removed(plan))}** of the layers' parameters; whole model "
        f"{size(view.bytes_of(plan))}.",
        status,
    )


def _believed(known: Knowledge, selected: str | None) -> tuple | None:
    """(keeps, loss expected, its standard deviation) of the selected layer; None where nothing was measured."""
    row = known.grid.row.get(selected)
    if row is None or not known.points:
        return None
    return np.array(CANDIDATES), known.beliefs.mean[row], known.beliefs.sd[row]


_CURVES: OrderedDict[tuple, list[tuple[float, float]]] = OrderedDict()  # the last few, by what decided them


def predicted_curves(view: View) -> dict[str, list[tuple[float, float]]]:
    """method → (bytes, predicted perplexity) over a grid of ratios, from spectra alone; dense sites dense."""
    dense = view.study.dense(read_text(HELD_OUT), EVALUATION_WINDOWS)
    if dense is None:
        return {}
    others = (_under(view, method) for method in dict.fromkeys((*COMPARED, view.recipe.method)))
    return {other.recipe.method: _curve(other, dense.nll) for other in others if other.spectra}


def _under(view: View, method: str) -> View:
    """The same study under another method, with its default parameters."""
    recipe = view.recipe
    if method == recipe.method:
        return view
    return View(recipe.model_copy(update={"method": method, "parameters": {}}), view.study)


def _curve(view: View, dense_nll: float) -> list[tuple[float, float]]:
    """One method's curve, kept: it depends on neither the ratio nor what is compared with it."""
    blind = view.recipe.model_copy(update={"ratio": 0.5, "walk": None, "measure": "none", "target": None})
    key = (view.study.source, blind.model_dump_json(), dense_nll)
    if (known := _CURVES.get(key)) is not None:
        return known
    row, bare = [], Knowledge(view.grid, {}, latents=view.latents)
    for ratio in GRID:
        try:
            plan = make_plan(blind.model_copy(update={"ratio": ratio}), bare)
        except LowRankError:
            continue  # this ratio is out of reach with what is kept dense
        row.append((view.bytes_of(plan), float(np.exp(dense_nll + view.predicted(plan)))))
    _CURVES[key] = row
    while len(_CURVES) > 64:
        _CURVES.popitem(last=False)
    return row


def dense_point(view: View) -> tuple[float, float] | None:
    """(bytes, perplexity) of the dense model, once measured."""
    dense = view.study.dense(read_text(HELD_OUT), EVALUATION_WINDOWS)
    return dense and (view.body.parameters * view.body.element_size, dense.perplexity)


def readout(view: View, plan: Plan) -> str:
    """The plan in one line: what goes, what stays, what is predicted."""
    body, ranks = view.body, plan.site_ranks(view.units)
    dense = sum(rank is None for rank in ranks.values())
    whole = body.parameters * body.element_size
    return (
        f"Removes **{percent(view.removed(plan))}** of the layers' parameters; "
        f"whole model {size(view.bytes_of(plan))} of {size(whole)} "
        f"({percent(1 - view.bytes_of(plan) / whole)} smaller). {dense} of {len(ranks)} layers stay dense. "
        f"Predicted: **+{view.predicted(plan):.3f}** nats per token"
        f"{', before the walk makes good a part of it' if view.recipe.walk else ''}."
    )


def how_found(view: View) -> str:
    """The setting behind predictions and points."""
    probed = min(view.study.probe_windows, view.setting.windows)
    return f"*Predicted: {view.setting}. Points: at most its first {probed} windows.*"


def remember(view: View, visit: Visit, plan: Plan, now: Measurement) -> None:
    """Keep a plan's measured perplexity as the present solid point of the trade-off."""
    recipe = view.recipe
    how = f"{recipe.allocator}, {recipe.storage}{', walked' if recipe.walk else ''}"
    how += f", KV {recipe.kv_ratio:g}" if recipe.kv_ratio else ""
    ratio = view.removed(plan) if recipe.target else recipe.ratio
    label = f"{LABELS[recipe.method]}, {how}, ratio {ratio:.3g}; {now.setting}"
    for m in visit.measured:
        m["now"] = False
    visit.tried[recipe_label(recipe)] = recipe
    visit.measured[:] = [m for m in visit.measured if m["label"] != label]
    visit.measured.append(
        {
            "method": recipe.method,
            "ratio": view.removed(plan),
            "bytes": view.bytes_of(plan),
            "perplexity": now.perplexity,
            "label": label,
            "key": recipe_label(recipe),
            "now": True,
        }
    )


def recall(view: View, visit: Visit, plan: Plan) -> str:
    """The status of a plan that was measured before, remembered as the present point; empty for any other."""
    if view.saved:
        return ""
    text = read_text(HELD_OUT)
    dense = view.study.dense(text, EVALUATION_WINDOWS)
    now = view.study.evaluation(view.recipe, plan, text, EVALUATION_WINDOWS)
    if dense is None or now is None:
        return ""
    remember(view, visit, plan, now)
    return measured_line(dense, now)


def measured_line(dense: Measurement, now: Measurement) -> str:
    """A measured perplexity beside the dense one, with its setting."""
    return (
        f"Measured: perplexity **{now.perplexity:.3f}**, dense {dense.perplexity:.3f} "
        f"({now.nll - dense.nll:+.4f} nats per token). *{now.setting}*"
    )


def header(view: View | None, plan: Plan | None, recipe: Recipe, memory: str = "") -> str:
    """The strip's HTML: what is loaded, what it weighs, what it became."""
    if view is None or view.body is None:
        return f"<span>{recipe.model}</span>"
    body, source = view.body, view.study.source
    now, what = "", "saved compressed" if view.saved else "dense"
    if view.saved:
        now = f"<span>{view.saved.label}</span>"
    elif plan is not None:
        kept = view.bytes_of(plan) // body.element_size
        walked = ", walked" if recipe.walk else ""
        walked += f" · KV keep {percent(1 - recipe.kv_ratio)}" if recipe.kv_ratio else ""
        now = (
            f"<span>{LABELS[recipe.method]}{walked} · keep {percent(1 - view.removed(plan))} · "
            f"{count(kept)} · {size(view.bytes_of(plan))}</span>"
        )
    return (
        f"<span><b>{view.study.folder.path.name if recipe.model != 'demo' else 'demo'}</b> @ {source.model[:7]} · "
        f"{source.dtype} · {source.device}</span>"
        f"<span>{what} {count(body.parameters)} · {size(body.parameters * body.element_size)}</span>"
        f"{now}{memory}"
    )
