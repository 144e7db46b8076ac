"""One recipe, spelt as YAML, as a command line, as Python and as a link's query, and read back (no torch here).

Every spelling is made from the fields of `Recipe`, so that a new field is spelt without a line here: names and numbers
as they are, anything else as YAML on one line.
"""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import yaml

from ..calibration.texts import UPLOADED, is_named, read_text
from ..errors import BadValue
from .recipe import Recipe, recipe_of

PROGRAM = ("python", "-m", "lowrank_core", "compress")
NAMED = ("model", "text", "method", "allocator", "ratio", "seed")  # always said, also where they are the defaults
FLAGS = {  # fields with an option of their own; `--set field=value` spells every other
    "ratio": "--ratio",
    "kv_ratio": "--kv-ratio",
    "kv_method": "--kv-method",
    "kv_heads": "--kv-heads",
    "method": "--method",
    "allocator": "--allocator",
    "text": "--calibrate",
    "storage": "--storage",
    "windows": "--windows",
    "window": "--window",
    "probe_windows": "--probe-windows",
    "seed": "--seed",
}


def said(recipe: Recipe, named: Iterable[str] = NAMED) -> dict[str, Any]:
    """Field → value as JSON has it, of what names the work and of what differs from the defaults."""
    return {**{k: getattr(recipe, k) for k in named}, **recipe.model_dump(mode="json", exclude_defaults=True)}


def to_yaml(recipe: Recipe) -> str:
    """The recipe as a YAML file."""
    return yaml.safe_dump(said(recipe), sort_keys=False, allow_unicode=True)


def to_command(recipe: Recipe) -> str:
    """The command line that does the same."""
    words = [*PROGRAM, recipe.model]
    for name, value in said(recipe, ("ratio", "method", "allocator", "text")).items():
        if name in FLAGS:
            words += [FLAGS[name], flat(name, value)]
        elif name != "model":
            words += ["--set", f"{name}={flat(name, value)}"]
    return shlex.join(words)


def to_python(recipe: Recipe) -> str:
    """The Python lines that do the same."""
    arguments = ", ".join(f"{k}={v!r}" for k, v in recipe.model_dump(exclude_defaults=True).items())
    return f"import lowrank_core\ncompressed = lowrank_core.run(lowrank_core.Recipe({arguments}))"


def to_query(recipe: Recipe) -> str:
    """The recipe as a link's query, without the question mark; a text that is no named one goes by its digest only.

    Raises the LowRankError of a text that cannot be read.
    """
    values = said(recipe)
    if not (is_named(recipe.text) or needed_text(recipe)):
        values["text"] = UPLOADED + read_text(recipe.text).digest
    return urlencode({name: flat(name, value) for name, value in values.items()})


def to_link(recipe: Recipe, address: str) -> str:
    """A link that opens the studio at this address with the recipe."""
    return f"{address.split('?')[0]}?{to_query(recipe)}"


def from_query(query: str | Mapping[str, str]) -> Recipe | None:
    """The recipe in a link's query, None where the query says nothing about one; BadValue for a value that is wrong.

    Other parameters, such as the ones a host adds, are passed over. `needed_text` tells whether its text must be given.
    """
    pairs = dict(parse_qsl(query) if isinstance(query, str) else query)
    values = {name: value_of(name, text) for name, text in pairs.items() if name in Recipe.model_fields}
    return recipe_of(values) if values else None


def needed_text(recipe: Recipe) -> str:
    """The digest of the text that has to be uploaded before the recipe can be followed; empty where none has to be."""
    return recipe.text.removeprefix(UPLOADED) if recipe.text.startswith(UPLOADED) else ""


def with_text(recipe: Recipe, name: str) -> Recipe:
    """The recipe on the text that its link asked for; BadValue where the file is another one."""
    if needed_text(recipe) != read_text(name).digest:
        raise BadValue(
            "This is not the text that the link was made with.", "Choose the same file, or another calibration text."
        )
    return recipe.model_copy(update={"text": name})


def settings_of(pairs: Iterable[str]) -> dict[str, Any]:
    """Field → value of `field=value` words; BadValue for one that is none, or names no field."""
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in Recipe.model_fields:
            raise BadValue(
                f"The setting {pair!r} is none of a recipe.",
                f"Write NAME=VALUE with one of {', '.join(Recipe.model_fields)}.",
            )
        values[name] = value_of(name, text)
    return values


def flat(name: str, value: Any) -> str:
    """A field's value on one line."""
    if Recipe.model_fields[name].annotation is str:
        return value
    line = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True)
    return line.removesuffix("...\n").strip()


def value_of(name: str, text: str) -> Any:
    """The value that `flat` wrote; BadValue where it is not one line of YAML."""
    if Recipe.model_fields[name].annotation is str:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise BadValue(f"The recipe's {name} cannot be read: {text[:80]!r}.", "Write it as YAML on one line.") from None
