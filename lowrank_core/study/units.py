"""What gets a rank: the sites of a model as units of a recipe (no torch here)."""

from ..methods import METHODS
from ..types import Site, Unit
from .recipe import Recipe


def units_of(sites: tuple[Site, ...], recipe: Recipe) -> tuple[Unit, ...]:
    """The units in the order of the data flow: every site its own, unless its method joins its input group."""
    settings = {method: recipe.settings_of(method) for method in recipe.methods}
    units: dict[tuple, list[Site]] = {}
    for site in sites:
        method = recipe.method_at(site.role)
        joined = METHODS[method].joint
        units.setdefault((site.group, method) if joined else (site.path, method), []).append(site)
    return tuple(
        Unit(
            tuple(members),
            method,
            settings[method],
            "pivoted" if recipe.storage == "pivoted" and not METHODS[method].joint else "factored",
            recipe.walk is None  # whose factors are not centred
            and bool(settings[method].get("centre"))
            and not any(s.bias for s in members),
        )
        for (_, method), members in units.items()
    )
