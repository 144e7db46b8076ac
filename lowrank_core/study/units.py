"""What gets a rank: the sites of a model as units of a recipe (no torch here)."""

from ..methods import METHODS
from ..types import Site, Unit
from .recipe import Recipe

# what families call the layers of keys and values; where a family is unknown, roles are the layers' own names
KV_ROLES = ("k", "v", "qkv", "k_proj", "v_proj", "key", "value", "qkv_proj", "c_attn", "Wqkv")


def units_of(sites: tuple[Site, ...], recipe: Recipe) -> tuple[Unit, ...]:
    """The units in the order of the data flow: every site its own, unless its method joins its input group.

    Where the cache is to hold latents, the layers of keys and values are no units: how small they get follows from it.
    """
    settings = {method: recipe.settings_of(method) for method in recipe.methods}
    units: dict[tuple, list[Site]] = {}
    for site in sites:
        if recipe.kv_ratio and site.role in KV_ROLES:
            continue  # its layer makes latents
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
