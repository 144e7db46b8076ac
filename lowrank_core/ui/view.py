"""What the pages read: one study of one recipe, from the store alone (no torch, no model)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property

from ..kv.plan import KVPlan
from ..settings import COMPARED
from ..store import Store
from ..study.artefacts import Body, KVCurves
from ..study.knowledge import Grid, Knowledge, Points
from ..study.planning import latent_weights, make_plan, predicted_nll, removed
from ..study.read import Study, open_study
from ..study.recipe import Recipe
from ..study.units import units_of
from ..types import ChannelSummary, Plan, Setting, Spectrum, Unit
from .saved import Saved, saved_in

KEPT_SPECTRA = 24
_SPECTRA: OrderedDict[tuple, dict[str, Spectrum]] = OrderedDict()  # by what decided them
_KNOWN: OrderedDict[tuple, Knowledge] = OrderedDict()  # all pages' points of one study and method


@dataclass
class View:
    """The stored results around a recipe; pieces that are missing are None or empty, never invented."""

    recipe: Recipe
    study: Study

    @cached_property
    def body(self) -> Body | None:
        return self.study.body

    @cached_property
    def saved(self) -> Saved | None:
        """What the folder says where it was saved compressed: then its plan is the recorded one, and has no spectra."""
        return saved_in(self.study.folder)

    @property
    def ready(self) -> bool:
        """Whether the model's sites, statistics and this method's spectra are all stored."""
        if self.saved:
            return bool(self.body and self.summaries)
        latents = not self.recipe.kv_ratio or self.kv is not None
        return bool(self.body and self.summaries and self.spectra and latents)

    @cached_property
    def kv(self) -> KVCurves | None:
        """What latents of keys and values are predicted to cost, once that is stored."""
        return self.study.kv_curves(self.recipe.kv_method, self.recipe.kv_heads)

    @cached_property
    def kv_plan(self) -> KVPlan | None:
        """The latents per block under the recipe; None where its KV ratio is 0, or nothing is stored."""
        if self.saved or not self.recipe.kv_ratio or self.kv is None:
            return None
        return self.kv.plan(self.recipe.kv_ratio, self.recipe.kv_allocator)

    @cached_property
    def latents(self) -> tuple[int, int]:
        """Parameters of the layers that make latents: dense, and under the recipe."""
        return latent_weights(self.body.sites, self.units, self.kv, self.kv_plan) if self.kv_plan else (0, 0)

    @cached_property
    def summaries(self) -> list[ChannelSummary]:
        """Of every input group, or [] where one is missing."""
        found = [self.study.summary(g) for g in self.body.group_keys] if self.body else []
        return [] if None in found else found

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """What gets a rank under the recipe."""
        if self.body is None:
            return ()
        return self.saved.units(self.body.sites) if self.saved else units_of(self.body.sites, self.recipe)

    @cached_property
    def spectra(self) -> dict[str, Spectrum]:
        """Unit path → Spectrum, or {} where one is missing; the last few sets are kept, for the slider's sake."""
        key = (str(self.study.store.folder), self.study.source, self.units)
        found = _SPECTRA.get(key) or self.study.spectra(self.units)
        if found:
            _SPECTRA[key] = found
            while len(_SPECTRA) > KEPT_SPECTRA:
                _SPECTRA.popitem(last=False)
        return found

    def site_spectra(self, path: str) -> list[Spectrum]:
        """One site's spectra under the methods that are compared, as far as they have one."""
        if self.saved:
            return []
        shown = dict.fromkeys((*COMPARED, self.recipe.method))
        found = (
            self.study.spectrum(path, m, self.recipe.parameters if m == self.recipe.method else None) for m in shown
        )
        return [s for s in found if s is not None]

    @property
    def known(self) -> Knowledge:
        """Spectra, and the points as far as measured by now by anybody here: kept in memory, for the slider's sake."""
        return self._known() or self.refresh()

    @property
    def points(self) -> Points:
        """Unit path → keep → Point, as far as measured by now."""
        return {} if self.saved else self.known.points

    def refresh(self) -> Knowledge:
        """What is known, read from the store again: other processes measure, too."""
        return self.share(Knowledge(self.grid, {u.path: self.study.points(u) for u in self.units}))

    def share(self, known: Knowledge) -> Knowledge:
        """Let every page know this, and keep what others measured meanwhile."""
        before = self._known()
        if before is not None:
            for row in before.points.values():
                for point in row.values():
                    mine = known.points.get(point.path, {}).get(point.keep)
                    known = known if mine and mine.windows >= point.windows else known.knowing(point)
        _KNOWN[self._name] = known
        _KNOWN.move_to_end(self._name)
        while len(_KNOWN) > KEPT_SPECTRA:
            _KNOWN.popitem(last=False)
        return known

    @cached_property
    def grid(self) -> Grid:
        return Grid(self.units, self.spectra)

    @cached_property
    def _name(self) -> tuple:
        return str(self.study.store.folder), self.study.source, self.study.probe_windows, self.units

    def _known(self) -> Knowledge | None:
        found = _KNOWN.get(self._name)
        return found if found is not None and found.grid.spectra is self.spectra else None

    @property
    def setting(self) -> Setting:
        """How the statistics came about, and all that is predicted from them."""
        return self.study.setting(self.summaries[0].tokens // self.study.source.window)

    def plan(self, points: Points | None = None) -> Plan:
        """The recipe's plan from these points, or from all that is known."""
        if self.saved:
            return self.saved.plan(self.units)
        return make_plan(self.recipe, self.knowing(points))

    def knowing(self, points: Points | None) -> Knowledge:
        """What these points, or all that are known, make known."""
        known = self.known
        if self.recipe.never_slower:
            known = replace(known, pace=self.study.pace(self.units))
        if self.latents != known.latents:
            known = replace(known, latents=self.latents)
        return known if points is None or points is known.points else replace(known, points=points)

    def removed(self, plan: Plan) -> float:
        """Share of the layers' parameters that a plan and its latents remove."""
        return removed(plan, self.units, self.latents)

    def predicted(self, plan: Plan) -> float:
        """Predicted nll above dense of a plan, nats per token."""
        return predicted_nll(plan, self.spectra) + (self.kv.predicted(self.kv_plan) if self.kv_plan else 0.0)

    def bytes_of(self, plan: Plan) -> int:
        """Bytes of the whole model under a plan, as it is saved."""
        body = self.body
        if self.saved:
            return body.parameters * body.element_size  # it has no more
        rest = body.parameters - body.site_parameters
        return (rest + plan.kept(self.units) + self.latents[1]) * body.element_size


def view(recipe: Recipe, store: Store, device: str = "cpu", dtype: str | None = None) -> View:
    """The View of a recipe; raises the LowRankError of a model or text that cannot be read."""
    return View(recipe, open_study(recipe, store, device, dtype))


def best_view(recipe: Recipe, store: Store, device: str, dtype: str | None) -> View:
    """The View on this device where it is ready, else the one of a CPU (the shipped study) where that is."""
    here = view(recipe, store, device, dtype)
    if device != "cpu" and not here.ready:
        shipped = view(recipe, store)
        return shipped if shipped.ready else here
    return here
