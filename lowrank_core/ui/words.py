"""Numbers and names as a person reads them."""

from ..methods import METHODS
from ..models import room
from ..settings import COMPARED
from ..study.recipe import Recipe

LABELS = {key: METHODS[key].label for key in dict.fromkeys((*COMPARED, *METHODS))}  # their order gives the colours

size = room.size


def recipe_label(recipe: Recipe) -> str:
    """A recipe in a few words."""
    extra = f"{', pivoted' if recipe.storage == 'pivoted' else ''}{', walked' if recipe.walk else ''}"
    size = f"perplexity {recipe.target:g}" if recipe.target else f"ratio {percent(recipe.ratio)}"
    return f"{LABELS[recipe.method]}, {recipe.allocator}{extra}, {size}"


def count(n: float) -> str:
    """6.56 M, 128 k, 512."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(n) >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f}"


def percent(share: float) -> str:
    """30 %, 12.5 %."""
    return f"{100 * share:.3g} %"


def error_line(message: str, hint: str = "") -> str:
    """A lasting line for the page: what went wrong, and what to do."""
    return f"**{message}** {hint}".strip()
