"""The names of a study's artefacts: everything that decided each of them, and nothing else (no torch here)."""

from dataclasses import asdict, dataclass

from ..settings import DRIFT_WINDOWS, PRICED_WINDOWS
from ..store import Key

HELD_OUT_SEED = 100_000  # apart from any seed somebody calibrates with


@dataclass(frozen=True)
class Source:
    """What every result of a study depends on: the model's files, the calibration windows, and the arithmetic."""

    model: str  # fingerprint
    text: str  # digest
    windows: int  # asked for
    window: int  # tokens
    seed: int
    dtype: str
    device: str  # "cpu" or "cuda": they round differently

    def own_text(self, windows: int, window: int, held_out: bool = False) -> Key:
        """Of what the model writes itself: to calibrate on, or `held_out` from that."""
        wrote = {"model": self.model, "dtype": self.dtype, "device": self.device}
        seed = self.seed + (HELD_OUT_SEED if held_out else 0)
        return Key("text", {**wrote, "windows": windows, "window": window, "seed": seed})

    def anatomy(self) -> Key:
        return Key("anatomy", {"model": self.model, "dtype": self.dtype})

    def channels(self, group: str) -> Key:
        return Key("channels", {**asdict(self), "group": group})

    def gram(self, group: str) -> Key:
        return Key("gram", {**asdict(self), "group": group})

    def fisher(self, path: str) -> Key:
        return Key("fisher", {**asdict(self), "path": path})

    def kv(self, block: int) -> Key:
        return Key("kv", {**asdict(self), "block": block})

    def kv_curves(self, method: str, heads: int | None = None) -> Key:
        return Key("kv-curves", {**asdict(self), "method": method, **({"heads": heads} if heads else {})})

    def spectrum(self, path: str, method: str, settings: dict[str, float]) -> Key:
        """Of a unit under a method; `settings`: its parameters that differ from their defaults."""
        return Key(
            "spectrum",
            {
                **asdict(self),
                "path": path,
                "method": method,
                "settings": settings,
                "priced": PRICED_WINDOWS,
                "drift": DRIFT_WINDOWS,
            },
        )

    def factors(self, path: str, method: str, settings: dict[str, float], storage: str) -> Key:
        """Of a unit; the storage decides how exactly they are kept."""
        return Key(
            "factors", {**asdict(self), "path": path, "method": method, "settings": settings, "storage": storage}
        )

    def walk(self, made: dict, block: int) -> Key:
        """Of a block; `made`: everything in the recipe and plan that decides a compressed model's weights."""
        return Key("walk", {**asdict(self), **made, "block": block})

    def points(self, path: str, method: str, settings: dict[str, float], probe_windows: int, storage: str) -> Key:
        """The storage decides which rank a keep means."""
        return Key(
            "points",
            {
                **asdict(self),
                "path": path,
                "method": method,
                "settings": settings,
                "probe_windows": probe_windows,
                "storage": storage,
            },
        )

    def dense_evaluation(self, text: str, windows: int, window: int) -> Key:
        """Of the dense model: it does not depend on the calibration text."""
        dense = {"model": self.model, "dtype": self.dtype, "device": self.device}
        return Key("evaluation", {"of": dense, "text": text, "windows": windows, "window": window})

    def evaluation(self, made: dict, text: str, windows: int, window: int) -> Key:
        """Of a compressed model; `made`: everything in its recipe and plan that decides its weights."""
        return Key("evaluation", {"of": {**asdict(self), **made}, "text": text, "windows": windows, "window": window})
