"""What is known of a study without running anything: the reader behind every page (no torch here)."""

import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..calibration.texts import Text, read_text, settled
from ..methods import METHODS
from ..models.where import ModelFolder, locate
from ..settings import BUNDLED_STUDY, CPU_WINDOW, GPU_WINDOW, cache_folder
from ..store import Key, Store
from ..types import ChannelSummary, Measurement, Plan, Point, Setting, Spectrum, Unit
from . import artefacts
from .artefacts import Body, KVCurves
from .keys import Source
from .recipe import Recipe


def open_store() -> Store:
    """The user's store, with the bundled model's shipped study behind it."""
    return Store(cache_folder(), (BUNDLED_STUDY,))


@dataclass(frozen=True)
class Study:
    """A model and a calibration text, and the stored results about them."""

    folder: ModelFolder
    text: Text
    source: Source
    probe_windows: int
    store: Store

    @property
    def body(self) -> Body | None:
        """The model's sites and sizes, once it was loaded."""
        artefact = self.store.read(self.source.anatomy())
        return artefact and Body.from_artefact(artefact)

    def setting(self, windows: int) -> Setting:
        """How a result of this study came about."""
        s, body = self.source, self.body
        return Setting(self.text.label, windows, s.window, s.dtype, s.device, s.seed, bool(body and body.bos))

    def summary(self, group: str) -> ChannelSummary | None:
        artefact = self.store.read(self.source.channels(group))
        return artefact and artefacts.unpack_summary(artefact)

    def spectrum(self, path: str, method: str, settings: dict | None = None) -> Spectrum | None:
        """Of a unit, by its path."""
        artefact = self.store.read(self.source.spectrum(path, method, decisive(method, settings)))
        return artefact and artefacts.unpack_spectrum(artefact)

    def spectra(self, units: Iterable[Unit]) -> dict[str, Spectrum]:
        """Unit path → Spectrum, or {} where one is missing."""
        found = {u.path: self.spectrum(u.path, u.method, u.settings) for u in units}
        return {} if None in found.values() else found

    def kv_curves(self, method: str, heads: int | None = None) -> KVCurves | None:
        """What latents of keys and values are predicted to cost under a method, a basis for so many heads."""
        artefact = self.store.read(self.source.kv_curves(method, heads))
        return artefact and artefacts.unpack_kv_curves(artefact)

    def points(self, unit: Unit) -> dict[float, Point]:
        """keep → Point of a unit, as far as measured."""
        return artefacts.unpack_points(self.store.read(self.points_key(unit)))

    def points_key(self, unit: Unit) -> Key:
        settings = decisive(unit.method, unit.settings)
        return self.source.points(unit.path, unit.method, settings, self.probe_windows, unit.storage)

    def dense(self, text: Text, windows: int) -> Measurement | None:
        """The stored perplexity of the dense model on a text."""
        artefact = self.store.read(self.dense_key(text, windows))
        return artefact and artefacts.unpack_measurement(artefact)

    def evaluation(self, recipe: Recipe, plan: Plan, text: Text, windows: int) -> Measurement | None:
        """The stored perplexity of a recipe's plan on a text."""
        artefact = self.store.read(self.evaluation_key(recipe, plan, text, windows))
        return artefact and artefacts.unpack_measurement(artefact)

    def evaluation_key(self, recipe: Recipe, plan: Plan, text: Text, windows: int) -> Key:
        made = {**recipe.decisive(), "ranks": dict(plan.ranks)}
        return self.source.evaluation(made, self._digest(text, windows), windows, self.source.window)

    def dense_key(self, text: Text, windows: int) -> Key:
        return self.source.dense_evaluation(self._digest(text, windows), windows, self.source.window)

    def pace(self, units: Iterable[Unit]) -> dict[str, int]:
        """Unit path → the largest rank that is as fast as dense on this machine, as far as it was measured."""
        units = tuple(units)
        artefact = self.store.read(self.pace_key(units))
        known = artefact.facts["largest"] if artefact else {}
        return {u.path: known[u.path] for u in units if u.path in known}

    def pace_key(self, units: Iterable[Unit]) -> Key:
        """The storages decide, and whether a path is a site's or a group's it says itself."""
        s, storages = self.source, sorted({u.storage for u in units})
        machine = f"{platform.node()} {platform.processor()} {platform.machine()}"
        made = {"model": s.model, "dtype": s.dtype, "device": s.device, "machine": machine, "storages": storages}
        return Key("pace", made)

    def _digest(self, text: Text, windows: int) -> str:
        """Of a text that is evaluated on; one that the model writes itself is another than it is calibrated on."""
        return settled(text, self.source.own_text(windows, self.source.window, held_out=True).digest).digest


def decisive(method: str, settings: dict | None) -> dict[str, float]:
    """What a method's stored results are named by: its settings that differ from the defaults."""
    return METHODS[method].decisive(METHODS[method].settle(settings))


def open_study(recipe: Recipe, store: Store | None = None, device: str = "cpu", dtype: str | None = None) -> Study:
    """The Study of a recipe's model and text, as it would be on a device and in a dtype."""
    folder, text = locate(recipe.model), read_text(recipe.text)
    dtype = dtype or folder.dtype_on(device)
    window = recipe.window or min(CPU_WINDOW if device == "cpu" else GPU_WINDOW, folder.context)
    source = Source(folder.fingerprint, text.digest, recipe.windows, window, recipe.seed, dtype, device)
    text_digest = settled(text, source.own_text(recipe.windows, window).digest).digest
    source = replace(source, text=text_digest)  # what the model is to write has its digest before it is written
    return Study(folder, text, source, recipe.probe_windows, store or open_store())
