"""What a quality benchmark compares, and what it finds (no torch here)."""

from dataclasses import dataclass

from ..study.recipe import Recipe, recipe_of
from ..types import Measurement


@dataclass(frozen=True)
class Grid:
    """Every calibration text × seed × method × allocator × ratio, each tested on every text."""

    model: str
    calibrate: tuple[str, ...]  # calibration texts
    texts: tuple[str, ...]  # test texts
    ratios: tuple[float, ...]
    methods: tuple[str, ...]
    allocators: tuple[str, ...]
    seeds: tuple[int, ...]
    windows: int  # of calibration
    test_windows: int
    window: int | None  # tokens; None: the model's default
    probe_windows: int

    def recipes(self) -> list[list[Recipe]]:
        """Groups of Recipes that share statistics, spectra and points: one group per text, seed and method.

        BadValue for a method, an allocator or a ratio that does not exist.
        """
        return [
            [
                self._recipe(text, seed, method, allocator, ratio)
                for allocator in self.allocators
                for ratio in self.ratios
            ]
            for text in self.calibrate
            for seed in self.seeds
            for method in self.methods
        ]

    def _recipe(self, text: str, seed: int, method: str, allocator: str, ratio: float) -> Recipe:
        return recipe_of(
            {
                "model": self.model,
                "text": text,
                "seed": seed,
                "method": method,
                "allocator": allocator,
                "ratio": ratio,
                "windows": self.windows,
                "window": self.window,
                "probe_windows": self.probe_windows,
            }
        )


@dataclass(frozen=True)
class Row:
    """One compressed model on one text."""

    calibrate: str
    method: str
    allocator: str
    ratio_asked: float
    ratio_achieved: float
    seed: int
    parameters: int  # of the whole model
    bytes: int  # of those, as it is saved
    text: str
    nll_above_dense: float  # nats per token, measured
    perplexity: float
    seconds: float  # this run spent on its plan, its model and this measurement; little where they were stored


@dataclass(frozen=True)
class Quality:
    """The rows of a grid, and the dense model's measurement on every text."""

    grid: Grid
    dtype: str
    device: str
    dense: dict[str, Measurement]
    rows: tuple[Row, ...]
