"""The bundled model's shipped study, as the lessons read it: the default method, every point measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..calibration.texts import read_text
from ..settings import EVALUATION_WINDOWS
from ..study.knowledge import Knowledge, Points
from ..study.planning import make_plan
from ..study.read import Study, open_study
from ..study.recipe import Recipe
from ..study.units import units_of
from ..types import Measurement, Plan, Spectrum, Unit

HELD_OUT = "demo-test"


@dataclass(frozen=True)
class Bundled:
    """What is stored about the bundled model under the default recipe."""

    study: Study
    units: tuple[Unit, ...]
    spectra: dict[str, Spectrum]
    points: Points

    @property
    def setting(self) -> str:
        """How its points came about."""
        return str(self.study.setting(self.study.probe_windows))

    def plan(self, allocator: str) -> Plan:
        """The plan of an allocator at the default ratio."""
        return make_plan(Recipe(allocator=allocator), Knowledge.of(self.units, self.spectra, self.points))

    def judged(self, allocator: str) -> Measurement | None:
        """The measured loss of that plan on the held-out text."""
        recipe, plan = Recipe(allocator=allocator), self.plan(allocator)
        return self.study.evaluation(recipe, plan, read_text(HELD_OUT), EVALUATION_WINDOWS)

    def dense(self) -> Measurement | None:
        """The measured loss of the dense model on the same text."""
        return self.study.dense(read_text(HELD_OUT), EVALUATION_WINDOWS)


@lru_cache(maxsize=1)
def bundled() -> Bundled:
    """The Bundled, read once."""
    recipe = Recipe()
    study = open_study(recipe)
    units = units_of(study.body.sites, recipe)
    return Bundled(study, units, study.spectra(units), {u.path: study.points(u) for u in units})
