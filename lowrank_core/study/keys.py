"""The names of a study's artefacts: everything that decided each of them, and nothing else (no torch here)."""

from dataclasses import asdict, dataclass

from ..settings import GRADIENT_WINDOWS
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

    def gradient(self) -> Key:
        return Key("gradient", {**asdict(self), "gradient_windows": GRADIENT_WINDOWS})

    def spectrum(self, path: str, method: str, parameters: dict[str, float]) -> Key:
        return Key(
            "spectrum",
            {
                **asdict(self),
                "path": path,
                "method": method,
                "parameters": parameters,
                "gradient_windows": GRADIENT_WINDOWS,
            },
        )

    def points(self, path: str, method: str, parameters: dict[str, float], probe_windows: int) -> Key:
        return Key(
            "points",
            {**asdict(self), "path": path, "method": method, "parameters": parameters, "probe_windows": probe_windows},
        )

    def evaluation(
        self,
        method: str | None,
        parameters: dict[str, float],
        ranks: dict[str, int | None],
        text: str,
        windows: int,
        window: int,
    ) -> Key:
        """Of the dense model where `method` is None; it then does not depend on the calibration text."""
        dense = {"model": self.model, "dtype": self.dtype, "device": self.device}
        compressed = {**asdict(self), "method": method, "parameters": parameters, "ranks": ranks}
        return Key(
            "evaluation",
            {"of": dense if method is None else compressed, "text": text, "windows": windows, "window": window},
        )
