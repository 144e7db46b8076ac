"""The page as a spelling of a recipe: from the Squeeze page's controls to a Recipe's values, and back."""

from pathlib import Path

from ..calibration.texts import UPLOADED, is_named
from ..errors import LowRankError
from ..study.recipe import PRESETS, Recipe
from ..study.spelling import to_command, to_link, to_python, to_yaml, with_text

BEST = PRESETS["best"]
HELD_OUT = "demo-test"  # the text every plan is judged on, whatever it was calibrated on
CHOICES = (  # what decides a recipe, in the order of `recipe_values`
    "method", "allocator", "ratio", "text", "upload", "dense_roles", "seed", "storage", "walk", "rest",
    "measure", "target", "dense_blocks", "kv_ratio",
)  # fmt: skip


def recipe_values(
    model: str,
    method: str,
    allocator: str,
    ratio: float,
    text: str,
    upload: str | None,
    dense_roles: list[str],
    seed: float,
    storage: str,
    walk: bool,
    rest: dict | None = None,
    measure: str | None = None,
    target: str = "",
    dense_blocks: list[int] | None = None,
    kv_ratio: float = 0.0,
) -> dict:
    """The values of a Recipe from the page's components; an uploaded file stands before the named text.

    `rest`: fields that have no control here. BadValue where a link asks for another text than the uploaded one.
    """
    rest = dict(rest or {})
    walked = rest.pop("walk", BEST["walk"])
    if upload and text.startswith(UPLOADED):
        with_text(Recipe(text=text), upload)
    return {
        **rest,
        "model": model,
        "method": method,
        "allocator": allocator,
        "ratio": ratio,
        "text": upload or text,
        "dense_roles": tuple(dense_roles or ()),
        "seed": int(seed or 0),
        "storage": storage,
        "walk": walked if walk else None,
        "measure": measure or None,
        "target": target or None,
        "target_text": rest.get("target_text", HELD_OUT) if target else None,
        "dense_blocks": tuple(dense_blocks or ()),
        "kv_ratio": kv_ratio,
    }


def choices_of(recipe: Recipe) -> list:
    """Values of CHOICES that spell a recipe: `recipe_values` of them gives it back."""
    shown = {**recipe.model_dump(), "upload": None, "dense_roles": list(recipe.dense_roles), "walk": bool(recipe.walk)}
    shown["dense_blocks"] = list(recipe.dense_blocks)
    shown["target"] = f"{recipe.target:g}" if recipe.target else ""
    kept = recipe.model_dump(exclude_defaults=True)
    rest = {k: v for k, v in kept.items() if k not in CHOICES and k != "model"}
    if recipe.target and recipe.target_text == HELD_OUT:
        rest.pop("target_text")
    if recipe.walk and recipe.walk.model_dump() != BEST["walk"]:
        rest["walk"] = recipe.walk.model_dump()
    return [rest if name == "rest" else shown[name] for name in CHOICES]


def named(recipe: Recipe) -> Recipe:
    """The recipe as it may leave the studio: an uploaded text goes by its file name, which is all that is known."""
    return recipe if is_named(recipe.text) else recipe.model_copy(update={"text": Path(recipe.text).name})


def spellings(recipe: Recipe, address: str) -> tuple[str, str, str, str]:
    """The recipe as a command line, as YAML, in Python, and as a link to the page at this address.

    No link where the text cannot be read: whoever previews the recipe says why.
    """
    known = named(recipe)
    try:
        link = to_link(recipe, address)
    except LowRankError:
        link = ""
    return to_command(known), to_yaml(known), to_python(known), link
