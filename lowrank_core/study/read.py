"""What is known of a study without running anything: the reader behind every page (no torch here)."""

from dataclasses import dataclass, replace

from ..calibration.texts import Text, read_text, settled
from ..methods import METHODS
from ..models.where import DEMO, ModelFolder, locate
from ..settings import BUNDLED_STUDY, CPU_WINDOW, GPU_WINDOW, cache_folder
from ..store import Store
from ..types import ChannelSummary, Measurement, Point, Setting, Spectrum
from . import artefacts
from .artefacts import Body
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
        s = self.source
        return Setting(self.text.label, windows, s.window, s.dtype, s.device, s.seed)

    def summary(self, group: str) -> ChannelSummary | None:
        artefact = self.store.read(self.source.channels(group))
        return artefact and artefacts.unpack_summary(artefact)

    def spectrum(self, path: str, method: str, parameters: dict | None = None) -> Spectrum | None:
        values = METHODS[method].settle(parameters)
        artefact = self.store.read(self.source.spectrum(path, method, values))
        return artefact and artefacts.unpack_spectrum(artefact)

    def points(self, path: str, method: str, parameters: dict | None = None) -> dict[float, Point]:
        """keep → Point, as far as measured."""
        values = METHODS[method].settle(parameters)
        return artefacts.unpack_points(self.store.read(self.source.points(path, method, values, self.probe_windows)))

    def evaluation(
        self, method: str | None, parameters: dict, ranks: dict, text: Text, windows: int, window: int
    ) -> Measurement | None:
        """The stored perplexity of the dense model (method None) or of a plan."""
        text = settled(text, self.source.own_text(windows, window, held_out=True).digest)
        artefact = self.store.read(self.source.evaluation(method, parameters, ranks, text.digest, windows, window))
        return artefact and artefacts.unpack_measurement(artefact)


def open_study(recipe: Recipe, store: Store | None = None, device: str = "cpu", dtype: str | None = None) -> Study:
    """The Study of a recipe's model and text, as it would be on a device and in a dtype."""
    folder, text = locate(recipe.model), read_text(recipe.text)
    if dtype is None:
        stored = str(folder.config.get("dtype") or folder.config.get("torch_dtype") or "float32")
        dtype = "float32" if folder.name == DEMO and device == "cpu" else stored
    window = recipe.window or min(CPU_WINDOW if device == "cpu" else GPU_WINDOW, folder.context)
    source = Source(folder.fingerprint, text.digest, recipe.windows, window, recipe.seed, dtype, device)
    text_digest = settled(text, source.own_text(recipe.windows, window).digest).digest
    source = replace(source, text=text_digest)  # what the model is to write has its digest before it is written
    return Study(folder, text, source, recipe.probe_windows, store or open_store())
