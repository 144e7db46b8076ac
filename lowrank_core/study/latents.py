"""The KV cache's part of a study: statistics and curves, stored once, and the layers that make a plan's latents."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..jobs import Job, Progress, job
from ..kv.collect import collect_kv
from ..kv.methods import KV_METHODS, Basis, KVStatistics, bases
from ..kv.plan import KVPlan, KVUnit, groups_of, units_of_blocks
from ..kv.serving import attach
from ..models.attention import KVPlace, kv_places
from ..models.latents import Projection, latent_modules
from ..models.surgery import put
from ..store import Artefact
from .artefacts import KVCurves, pack_kv_curves

if TYPE_CHECKING:
    from .build import Workbench
    from .recipe import Recipe


def places(bench: "Workbench") -> tuple[KVPlace, ...]:
    """Every block's keys and values; ModelUnsupported, saying why, where no block's cache can hold latents."""
    return kv_places(bench.loaded.model, bench.loaded.anatomy.block_paths)


@job
def calibrate_latents(bench: "Workbench", method: str, heads: int | None = None) -> Job[KVCurves]:
    """The KVCurves of a method; every block's statistics and every method's curves are stored on the way.

    `heads`: that share a basis, None for all of a block; BadValue where a block's heads make no such groups.
    """
    known = bench.study.kv_curves(method, heads)
    found = places(bench)
    open_places = [p for p in found if not p.why_not]
    if known is not None and all(bench.store.read(bench.source.kv(p.block)) for p in open_places):
        return known
    context = bench.study.folder.context
    curves: dict[str, dict] = {key: {} for key in KV_METHODS}
    units = {key: units_of_blocks(found, m, context, heads) for key, m in KV_METHODS.items()}

    def keep(place: KVPlace, statistics: KVStatistics) -> None:
        arrays = {n: getattr(statistics, n).float().cpu().numpy() for n in ARRAYS}
        facts = {"keys": statistics.keys, "tokens": statistics.tokens}
        bench.store.write(bench.source.kv(place.block), Artefact(arrays, facts))
        for key, m in KV_METHODS.items():
            made = bases(statistics, m, place.d_in, groups_of(place.heads, heads))
            for unit, basis in _matched(units[key], place, made):
                curves[key][unit.path] = basis.loss.float().cpu().numpy()

    yield from bench.read_windows()
    yield from collect_kv(bench.loaded, open_places, bench.windows, keep, bench.source.seed)
    dense = {p.block: p.why_not for p in found if p.why_not}
    for key in KV_METHODS:
        bench.store.write(bench.source.kv_curves(key, heads), pack_kv_curves(KVCurves(units[key], curves[key], dense)))
    return bench.study.kv_curves(method, heads)


ARRAYS = ("mean", "gram", "output_gram", "scaled")


def statistics_of(bench: "Workbench", block: int) -> KVStatistics:
    """The stored statistics of a block, on the model's device; without the sample that curves are priced on."""
    artefact = bench.store.read(bench.source.kv(block))
    arrays = {n: torch.from_numpy(a).double().to(bench.loaded.device) for n, a in artefact.arrays.items()}
    nothing = arrays["mean"].new_zeros(0, len(arrays["mean"]))
    return KVStatistics(**artefact.facts, **arrays, sample=nothing, sample_gradient=nothing)


@job
def put_latents(bench: "Workbench", recipe: "Recipe", model: nn.Module) -> Job[None]:
    """Put the layers of a recipe's latents into a copy of the dense model, and hook it so that its caches hold them."""
    curves = yield from calibrate_latents.steps(bench, recipe.kv_method, recipe.kv_heads)
    plan = curves.plan(recipe.kv_ratio, recipe.kv_allocator)
    name = (recipe.kv_method, recipe.kv_heads, tuple(plan.ranks.items()))
    if bench.latents is None or bench.latents[0] != name:
        made: dict[str, nn.Module] = {}
        found = [p for p in places(bench) if not p.why_not]
        for i, place in enumerate(found):
            made |= _modules(bench, recipe, place, curves.units, plan)
            yield Progress("latents", i + 1, len(found), f"block {place.block}")
        bench.latents = (name, made)
    for path, module in bench.latents[1].items():
        put(model, path, module)
    attach(model)


def _modules(
    bench: "Workbench", recipe: "Recipe", place: KVPlace, units: Iterable[KVUnit], plan: KVPlan
) -> dict[str, nn.Module]:
    """Path → module of one block's latents; {} where it stays dense."""
    if all(plan.ranks[u.path] is None for u in units if u.block == place.block):
        return {}
    method, groups = KV_METHODS[recipe.kv_method], groups_of(place.heads, recipe.kv_heads)
    found = bases(statistics_of(bench, place.block), method, place.d_in, groups)
    parts = [_projection(u, basis, plan.ranks[u.path]) for u, basis in _matched(units, place, found)]
    return latent_modules(bench.loaded.model, place, tuple(parts))


def _projection(unit: KVUnit, basis: Basis, rank: int | None) -> Projection:
    """The Projection on the first latents of a basis; whole where nothing is to be lost."""
    if rank is None or rank == unit.max_rank:
        return Projection(unit.rows, None, None, None)
    return Projection(unit.rows, basis.decoder[:, :rank], basis.encoder[:rank], basis.mean)


def _matched(units: Iterable[KVUnit], place: KVPlace, found: tuple[Basis, ...]) -> list[tuple[KVUnit, Basis]]:
    """The units of a block, each with its basis."""
    by_rows = {basis.rows: basis for basis in found}
    return [(u, by_rows[u.rows]) for u in units if u.block == place.block]
