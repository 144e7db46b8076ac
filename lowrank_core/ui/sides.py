"""The two sides of a chat: the dense model, Squeeze's plan, another method's, or a plan that was measured before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..jobs import Job
from ..methods import METHODS
from ..study.knowledge import Knowledge
from ..study.recipe import Recipe
from ..types import Plan, Unit
from .host import Host
from .house import House
from .running import told
from .saved import saved_at
from .squeeze_handlers import prepare
from .visits import Visit
from .words import LABELS, recipe_label

if TYPE_CHECKING:
    from torch import nn

    from ..models.loading import LoadedModel
    from ..study.build import Workbench

DENSE, NOW, BASE = "dense", "now", "base"


@dataclass(frozen=True)
class Side:
    """One of the two models of a chat; `recipe` None: the model as it was loaded; `model`: another than Squeeze's."""

    label: str
    recipe: Recipe | None = None
    model: str | None = None


@dataclass(frozen=True)
class Ready:
    """A side whose model can run."""

    side: Side
    bench: Workbench
    model: nn.Module
    plan: Plan | None = None  # None: dense
    units: tuple[Unit, ...] = ()
    running: nn.Module | None = None  # what replies in its place, in the forms that are fastest here

    @property
    def loaded(self) -> LoadedModel:
        return self.bench.loaded


def choices(visit: Visit, model: str, host: Host) -> list[tuple[str, str]]:
    """(label, key) of what a side may be, the left one's first and the right one's second.

    A model that was saved compressed is one side; the dense model it was made from, where it is at hand, the other.
    """
    if own := saved_at(model):
        base = [(f"Dense: {own.base}", BASE)] if own.dense(host) else []
        return [*base, (f"Saved: {own.name}", NOW)]
    others = [(f"{LABELS[m]}, the rest as in Squeeze", f"method:{m}") for m in METHODS]
    tried = [(f"Measured: {n}", f"tried:{n}") for n, r in reversed(visit.tried.items()) if r.model == model]
    return [("Dense", DENSE), ("Squeeze's plan", NOW), *tried, *others]


def side_of(key: str, recipe: Recipe, visit: Visit, host: Host) -> Side:
    """The Side behind a key of `choices`, with Squeeze's present recipe; a key that is gone is Squeeze's plan."""
    kind, _, name = (key or NOW).partition(":")
    if own := saved_at(recipe.model):
        if kind == BASE and own.dense(host):
            return Side(f"Dense: {own.base}", model=own.base)
        return Side(f"Saved: {own.name}")
    if kind == BASE:
        kind = DENSE
    if kind == DENSE:
        return Side("Dense")
    if kind == "method":
        values = {"method": name, "parameters": {}, "role_methods": {}, "overrides": {}}
        if METHODS[name].joint:
            values["storage"] = "factored"  # a shared right factor is never pivoted
        recipe = recipe.model_copy(update=values)
    elif kind == "tried":
        recipe = visit.tried.get(name, recipe)
    return Side(recipe_label(recipe), recipe)


def run_ready(house: House, found: Ready, lane: str, turn: int):
    """The Ready side with what is to reply in its model's place; None where it was stopped."""
    running = yield from told(house.steps(house.fastest(found.model), lane, turn))
    return None if running is None else replace(found, running=running)


def ready(house: House, side: Side, recipe: Recipe, session: str, lane: str, turn: int, as_it_is: bool = False):
    """The Ready side, as a job of (None, status); what is not known is calibrated first. None where it was stopped.

    `recipe`: Squeeze's, whose model is the dense one. The plan is the one that `run` makes of the side's recipe, with
    all its points measured; `as_it_is`: Squeeze's may be taken while it is still being measured.
    """
    asked = recipe.model_copy(update={"model": side.model}) if side.model else side.recipe or recipe
    bench = house.bench(asked, dense=side.recipe is not None)
    from ..study.compress import compress

    if side.recipe is None:
        return Ready(side, bench, bench.loaded.model)
    visit = house.visit(session)
    present = visit.plan if as_it_is and visit.recipe == side.recipe == recipe else None
    for stage in prepare(bench, side.recipe):  # the grams that factors are cut from are not shipped
        yield from told(house.steps(stage, lane, turn))
    if house.visit(lane).turn != turn:
        return None
    view = house.view(side.recipe)
    plan = present or (yield from told(house.steps(_plan(bench, side.recipe, view.known), lane, turn)))
    if plan is None:
        return None
    if side.recipe == recipe:
        visit.settle_on(recipe, plan)
    model = house.made(bench, side.recipe, plan)
    if model is None:
        model = yield from told(house.steps(compress.steps(bench, side.recipe, plan), lane, turn))
        if model is None:
            return None
        house.keep_made(bench, side.recipe, plan, model)
    return Ready(side, bench, model, plan, view.units)


def _plan(bench: Workbench, recipe: Recipe, known: Knowledge) -> Job[Plan]:
    """The plan that `run` makes of a recipe, what it wants measured being measured first."""
    from ..study.compress import learn, plan_for

    known = yield from learn(bench, recipe, known)
    return (yield from plan_for(bench, recipe, known))
