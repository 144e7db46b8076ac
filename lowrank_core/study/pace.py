"""Up to which rank a unit is no slower than dense on the device at hand: measured, and kept in the store."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from ..generation.products import Products, coarse
from ..jobs import Job, Progress
from ..models.footprint import bytes_read
from ..store import Artefact
from ..types import Unit
from .read import Study

if TYPE_CHECKING:
    from ..models.loading import LoadedModel


def measure_pace(study: Study, loaded: "LoadedModel", units: Iterable[Unit]) -> Job[dict[str, int]]:
    """Unit path → the largest rank whose products take no longer than the dense weight's; 0 where none is as fast.

    What counts is a chat turn, see `generation.products`.
    """
    units = tuple(units)
    found = study.pace(units)
    missing = [u for u in units if u.path not in found]
    if not missing:
        return found
    dtype = getattr(torch, loaded.dtype)
    products = Products(loaded.device, dtype, bytes_read(loaded.model), study.store)
    by_shape: dict[tuple, int] = {}
    for i, unit in enumerate(missing):
        shape = (unit.d_in, unit.storage, *(s.d_out for s in unit.sites))
        if shape not in by_shape:
            by_shape[shape] = fastest(unit, products)
        found[unit.path] = by_shape[shape]
        yield Progress("pace", i + 1, len(missing), unit.label)
    products.keep()
    mine = dict(found)
    study.store.update(
        study.pace_key(units),
        lambda old: Artefact(facts={"largest": {**(old.facts["largest"] if old else {}), **mine}}),
    )
    return found


def fastest(unit: Unit, products: Products) -> int:
    """The largest rank, of those at which products are measured, that takes no longer than dense."""
    dense = sum(products.best(s.d_out, unit.d_in)[1] for s in unit.sites)
    ranks = sorted({coarse(r) for r in range(1, unit.max_rank + 1) if coarse(r) <= unit.max_rank})
    low, high = 0, len(ranks)  # how many of them are as fast
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(unit, ranks[middle - 1], products) <= dense else (low, middle - 1)
    return ranks[low - 1] if low else 0


def cost(unit: Unit, rank: int, products: Products) -> float:
    """What a unit's products cost a chat turn at a rank."""
    first = products.best(rank, unit.d_in)[1]
    if unit.storage == "pivoted":
        rest = unit.d_out - rank
        return first + (products.best(rest, rank)[1] if rest else 0.0) + products.gather(unit.d_out)
    return first + sum(products.best(s.d_out, rank)[1] for s in unit.sites)
