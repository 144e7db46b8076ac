"""The recipe: everything that decides a compressed model, in one frozen value (no torch here)."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..allocation import ALLOCATORS, check_ratio
from ..errors import BadValue
from ..kv.methods import DEFAULT as KV_DEFAULT
from ..kv.methods import KV_METHODS
from ..kv.plan import KV_ALLOCATORS, check_kv_ratio
from ..methods import METHODS
from ..settings import CALIBRATION_WINDOWS, PROBE_WINDOWS, SEED

NO_RATIO = (
    "Both ratios are 0: nothing would change.",
    "Give the share of the layers' parameters to remove, above 0 and below 1 (ratio 0.3), that of each token's keys "
    "and values not to store (KV ratio 0.5), or both.",
)
MULTIPLES = (1, 8, 16, 32, 64)
STORAGES = {
    "factored": "two thin factors",
    "pivoted": "rows of the product and the other rows in terms of them: fewer parameters for the same rank",
    "merged": "multiplied out again, which saves no bytes",
}


MEASURES = {
    "none": "nothing: the plan rests on predictions alone",
    "settled": "the most decisive points first, until no other is expected to change the plan",
    "table": "every layer at every candidate, as ASVD's search does",
}


class Walk(BaseModel):
    """How the anchored walk makes the factors, block by block, on the inputs of what is compressed already."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta: float = Field(0.5, ge=0, le=1)  # how far the target is what the dense inputs give, else the compressed ones
    carry: float = Field(0.4, ge=0, le=1)  # share of the residual stream's error that o and down make good
    ridge: float = Field(1e-3, gt=0, le=1)
    norm: bool = True  # whether the last norm's gains are fitted to the dense model's outputs in the end


PRESETS: dict[str, dict[str, Any]] = {
    "best": {  # what the measurements in assets/measurements.md favour
        "method": "two-sided",
        "allocator": "waterfill",
        "storage": "pivoted",
        "walk": {"beta": 0.5, "carry": 0.4, "ridge": 1e-3, "norm": True},
    },
    "anchored": {  # the same without the residual stream's error and the norm, as METHODS §4.4: what `best` has to beat
        "method": "two-sided",
        "allocator": "waterfill",
        "storage": "pivoted",
        "walk": {"beta": 0.5, "carry": 0.0, "ridge": 1e-3, "norm": False},
    },
}


class Recipe(BaseModel):
    """Model, text, method, allocator, ratio and seed; the page, a file, a command and a link spell the same one
    (`spelling`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "demo"
    text: str = "demo"
    windows: int = CALIBRATION_WINDOWS
    window: int | None = None  # tokens; None: the model's default
    probe_windows: int = PROBE_WINDOWS
    method: str = "asvd-i"
    parameters: dict[str, float | str] = Field(default_factory=dict)  # of the method
    role_methods: dict[str, str] = Field(default_factory=dict)  # role → another method, with its default parameters
    allocator: str = "waterfill"
    measure: str | None = None  # of the sensitivity table: a key of MEASURES; None: what the allocator is made for
    storage: str = "factored"
    multiple: int = 1  # ranks come in multiples of this
    never_slower: bool = False  # no rank that was measured to be slower than dense on the machine at hand
    walk: Walk | None = None  # the anchored walk makes the factors, the method only prices the ranks
    ratio: float = 0.3  # of the layers' parameters; 0 where only the cache is to shrink
    target: float | None = None  # perplexity that the model may reach: the ratio follows from it
    target_text: str | None = None  # the text it is measured on; None: the calibration text
    kv_ratio: float = 0.0  # of every token's keys and values in the cache
    kv_method: str = KV_DEFAULT
    kv_allocator: str = KV_ALLOCATORS[0]
    kv_heads: int | None = None  # of keys and of values that share a basis; None: all of a block
    overrides: dict[str, int | None] = Field(default_factory=dict)  # site path → rank, or None for dense
    dense_roles: tuple[str, ...] = ()
    dense_blocks: tuple[int, ...] = ()
    seed: int = SEED

    def model_post_init(self, context: Any) -> None:
        choose(METHODS, self.method, "method").settle(self.parameters)
        for method in self.role_methods.values():
            choose(METHODS, method, "method")
        choose(STORAGES, self.storage, "storage")
        if self.multiple not in MULTIPLES:
            known = ", ".join(map(str, MULTIPLES))
            raise BadValue(f"Ranks in multiples of {self.multiple} are not offered.", f"Choose one of {known}.")
        choose(ALLOCATORS, self.allocator, "allocator")
        if self.measure is not None:
            choose(MEASURES, self.measure, "way to measure")
        if self.target is not None and not 1 < self.target < float("inf"):
            raise BadValue(f"The target perplexity is {self.target:g}.", "Give a number above the dense model's.")
        if self.target is not None and self.walk is not None:
            raise BadValue("A target perplexity cannot be searched with the walk.", "Choose a ratio, or no walk.")
        choose(KV_METHODS, self.kv_method, "KV method")
        choose(dict.fromkeys(KV_ALLOCATORS), self.kv_allocator, "KV allocator")
        if self.kv_heads is not None and self.kv_heads < 1:
            raise BadValue(f"No basis is for {self.kv_heads} heads.", "Give 1 or more, or leave it out for all.")
        if not check_kv_ratio(self.kv_ratio) and self.ratio == 0:
            raise BadValue(NO_RATIO[0], NO_RATIO[1])
        if self.ratio != 0:
            check_ratio(self.ratio)
        if self.kv_ratio and self.storage == "merged":
            raise BadValue("A merged model keeps no latents.", "Take the storage factored or pivoted, or no KV ratio.")
        if min(self.windows, self.probe_windows) < 1 or (self.window is not None and self.window < 2):
            raise BadValue(
                "The recipe reads no text.",
                "Give at least 1 window, at least 1 of them to probe, of at least 2 tokens.",
            )

    def method_at(self, role: str) -> str:
        """The method of a role."""
        return self.role_methods.get(role, self.method)

    def settings_of(self, method: str) -> dict[str, float]:
        """Every parameter of a method under this recipe."""
        return METHODS[method].settle(self.parameters if method == self.method else None)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods in use."""
        return tuple(dict.fromkeys((self.method, *self.role_methods.values())))

    @property
    def gradients(self) -> bool:
        """Whether anything reads the output-gradient moments."""
        return any(METHODS[m].gradients(self.settings_of(m)) for m in self.methods)

    @property
    def measuring(self) -> str:
        """What is measured before the plan: the key of MEASURES that is in force."""
        allocator = ALLOCATORS[self.allocator]
        if self.walk or not allocator.losses:  # a walk's factors are no method's; a rule without losses needs none
            return "none"
        if self.ratio == 0:
            return "none"
        return self.measure or ("table" if allocator.measures else "none")

    def decisive(self) -> dict[str, Any]:
        """What decides a compressed model's weights, beside its study and its ranks."""
        return {
            "methods": {m: METHODS[m].decisive(self.settings_of(m)) for m in self.methods},
            "method": self.method,
            "roles": dict(self.role_methods),
            "storage": "pivoted" if self.storage == "pivoted" else "factored",
            "walk": self.walk and self.walk.model_dump(),
            **({"kv": [self.kv_ratio, self.kv_method, self.kv_allocator]} if self.kv_ratio else {}),
            **({"kv_heads": self.kv_heads} if self.kv_ratio and self.kv_heads else {}),
        }


def recipe_of(values: dict[str, Any]) -> Recipe:
    """A Recipe from untrusted values; BadValue names the first that is wrong."""
    try:
        return Recipe(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field, *inside = first["loc"]
        if field not in Recipe.model_fields:
            hint = f"It takes: {', '.join(Recipe.model_fields)}."
            raise BadValue(f"The recipe's {field} is wrong: {first['msg']}.", hint) from None
        if field == "overrides" and inside:
            message = f"The rank of {inside[0]} cannot be {first['input']!r}."
            raise BadValue(message, "Give a whole number, or dense.") from None
        given = "nothing" if first["input"] is None else repr(first["input"])
        usual = Recipe.model_fields[field].get_default(call_default_factory=True)
        hint = "It may be left out." if usual in (None, (), {}) else f"Give for example {usual!r}."
        where = ".".join(str(p) for p in first["loc"])
        raise BadValue(f"The recipe's {where} cannot be {given}: {first['msg']}.", hint) from None


def read_recipe(path: Path | str) -> dict[str, Any]:
    """The values of a preset of PRESETS, or in a YAML file; BadValue where it is not a mapping."""
    if str(path) in PRESETS:
        return dict(PRESETS[str(path)])
    try:
        values = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise BadValue(
            f"The recipe {str(path)!r} cannot be read.",
            f"Give a YAML file as Copy recipe makes it, or one of {', '.join(PRESETS)}.",
        ) from None
    if not isinstance(values, dict) or not all(isinstance(k, str) for k in values):
        raise BadValue(
            f"The recipe {str(path)!r} is not a list of names and values.", "Give a YAML file as Copy recipe makes it."
        )
    return values


def choose(registry: dict[str, Any], key: str, what: str) -> Any:
    """The registry's entry; BadValue lists what there is."""
    if key not in registry:
        raise BadValue(f"There is no {what} {key!r}.", f"Choose one of {', '.join(registry)}.")
    return registry[key]
