"""What a quality benchmark compares, and what it finds (no torch here)."""

from dataclasses import dataclass

from ..methods import METHODS
from ..study.recipe import PRESETS, Recipe, choose, recipe_of
from ..types import Measurement


@dataclass(frozen=True)
class Grid:
    """Every calibration text × seed × method × allocator × storage × ratio, and every preset; each on every text."""

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
    storages: tuple[str, ...] = ("factored",)
    presets: tuple[str, ...] = ()  # keys of PRESETS
    measure: str | None = None  # a key of MEASURES for the combinations; None: what each allocator is made for

    def recipes(self) -> list[list[Recipe]]:
        """Groups of Recipes that share statistics, spectra and points: one per text, seed, method and storage.

        A shared right factor is never pivoted: joint methods come factored only. BadValue for a method, an
        allocator, a storage, a preset or a ratio that does not exist.
        """
        found = []
        for text in self.calibrate:
            for seed in self.seeds:
                for method, storage in self.pairs:
                    chosen = {"method": method, "storage": storage, "measure": self.measure}
                    found.append(
                        [
                            self._recipe(text, seed, {**chosen, "allocator": allocator, "ratio": ratio})
                            for allocator in self.allocators
                            for ratio in self.ratios
                        ]
                    )
                for name in self.presets:
                    preset = choose(PRESETS, name, "preset")
                    found.append([self._recipe(text, seed, {**preset, "ratio": ratio}) for ratio in self.ratios])
        return found

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(method, storage), those that make sense."""
        return [
            (method, storage)
            for method in self.methods
            for storage in self.storages
            if not (storage == "pivoted" and method in METHODS and METHODS[method].joint)
        ]

    def labels(self) -> list[tuple[str, str, str]]:
        """(method, allocator, storage) of every row of a table, presets by their name."""
        own = [(method, allocator, storage) for method, storage in self.pairs for allocator in self.allocators]
        return own + [label_of(recipe_of(PRESETS[name])) for name in self.presets]

    def _recipe(self, text: str, seed: int, values: dict) -> Recipe:
        return recipe_of(
            {
                "model": self.model,
                "text": text,
                "seed": seed,
                "windows": self.windows,
                "window": self.window,
                "probe_windows": self.probe_windows,
                **values,
            }
        )


def label_of(recipe: Recipe) -> tuple[str, str, str]:
    """(method, allocator, storage) as a table names them; the name of a preset where the recipe is one."""
    for name, preset in PRESETS.items():
        if recipe_of(preset).decisive() == recipe.decisive() and preset["allocator"] == recipe.allocator:
            return (f"**{name}**", recipe.allocator, recipe.storage)
    return (recipe.method, recipe.allocator, recipe.storage)


@dataclass(frozen=True)
class Row:
    """One compressed model on one text."""

    calibrate: str
    method: str  # or the preset's name
    allocator: str
    storage: str
    ratio_asked: float
    ratio_achieved: float
    seed: int
    parameters: int  # of the whole model
    bytes: int  # of those, as it is saved
    text: str
    nll_above_dense: float  # nats per token, measured
    perplexity: float
    kl: float  # mean KL(dense ‖ compressed), nats per token
    agreement: float  # share of tokens with the dense model's likeliest token
    seconds: float  # this run spent on its plan, its model and this measurement; little where they were stored


@dataclass(frozen=True)
class Quality:
    """The rows of a grid, and the dense model's measurement on every text."""

    grid: Grid
    dtype: str
    device: str
    dense: dict[str, Measurement]
    rows: tuple[Row, ...]
