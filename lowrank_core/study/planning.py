"""From spectra and points to a plan, in milliseconds (numpy only)."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..allocation import ALLOCATORS, Problem
from ..allocation.base import sequence_of_sites
from ..errors import BadValue
from ..kv.plan import KVPlan
from ..settings import CANDIDATES
from ..types import Plan, Site, Spectrum, Unit, cost
from .artefacts import KVCurves
from .knowledge import Knowledge
from .recipe import Recipe
from .units import KV_ROLES


def open_units(units: tuple[Unit, ...], recipe: Recipe) -> tuple[Unit, ...]:
    """The units whose rank the allocator may choose: none of their sites kept dense, not overridden."""
    return tuple(
        u
        for u in units
        if u.block not in recipe.dense_blocks
        and not recipe.overrides.keys() & _names(u)
        and not any(s.role in recipe.dense_roles for s in u.sites)
    )


def _names(unit: Unit) -> set[str]:
    """What an override may call a unit: its path, or that of one of its sites."""
    return {unit.path, *(s.path for s in unit.sites)}


def make_plan(recipe: Recipe, known: Knowledge) -> Plan:
    """The plan of a recipe from what is known: its overrides kept, its dense sites dense, the budget met by the rest.

    Points count only where the recipe measures, so that it means one plan wherever it is read, and speed only where it
    is never to be slower: what that keeps dense counts in the budget.
    The ratio counts over all units, and over the layers of keys and values whose latents are known. At ratio 0
    everything is dense. BudgetNotFeasible or BadValue where the open ones cannot bear it.
    """
    fixed, chosen, inner = open_part(recipe, known.grid.units, known.latents)
    if inner <= 0:
        return Plan(fixed)
    known = known if recipe.measuring != "none" else known.unmeasured()
    if recipe.walk:  # it makes other factors, and what these do to first order is not known
        known = replace(known, grid=known.grid.without_first)
    bare = recipe.measuring == "table"  # ASVD's own search reads its measurements as they are
    table = known.table(chosen, bare) if ALLOCATORS[recipe.allocator].losses else {}
    stable = {u.path: known.grid.spectra[u.path].stable_rank for u in chosen}
    most = known.pace if recipe.never_slower else {}
    problem = Problem(chosen, inner, known.curves, table, recipe.multiple, stable, most)
    return Plan({**fixed, **ALLOCATORS[recipe.allocator].plan(problem).ranks})


def open_part(
    recipe: Recipe, units: tuple[Unit, ...], latents: tuple[int, int] = (0, 0)
) -> tuple[dict[str, int | None], tuple[Unit, ...], float]:
    """What a recipe fixes (path → rank, None for dense, for all units), the units that are open, and the ratio that is
    left for them; it is not above 0 where what is fixed meets the budget alone.

    BadValue for an override or a name that fits nothing, and where the open units cannot bear the ratio.
    """
    fixed: dict[str, int | None] = {u.path: None for u in units}
    for path, rank in recipe.overrides.items():
        unit = next((u for u in units if path in _names(u)), None)
        if unit is None:
            raise BadValue(f"The override {path} = {rank} fits no site.", f"Give a layer's path, {units[0].path} say.")
        if rank is not None and not 1 <= rank <= unit.max_rank:
            raise BadValue(f"The rank of {unit.label} cannot be {rank}.", f"Give 1 to {unit.max_rank}, or dense.")
        fixed[unit.path] = rank
    roles = {s.role for u in units for s in u.sites} | set(KV_ROLES if recipe.kv_ratio else ())
    for what, asked, there in (
        ("role", (*recipe.dense_roles, *recipe.role_methods), roles),
        ("block", recipe.dense_blocks, {u.block for u in units}),
    ):
        if unknown := sorted(set(asked) - there):
            raise BadValue(f"The model has no {what} {unknown[0]!r}.", f"It has {', '.join(map(str, sorted(there)))}.")
    if recipe.ratio == 0:
        return fixed, (), 0.0
    chosen = sequence_of_sites(open_units(units, recipe))
    open_total = sum(u.parameters for u in chosen)
    inside = {u.path for u in chosen}
    elsewhere = sum(cost(u, fixed[u.path]) for u in units if u.path not in inside)
    whole = sum(u.parameters for u in units) + latents[0]
    budget = (1 - recipe.ratio) * whole - elsewhere - latents[1]
    inner = 1 - budget / open_total
    if inner >= 1:
        raise BadValue(
            f"The ratio {recipe.ratio:g} is out of reach with these layers kept dense.", "Open more roles or blocks."
        )
    return fixed, chosen, inner


def latent_weights(
    sites: Iterable[Site], units: Iterable[Unit], curves: KVCurves | None, plan: KVPlan | None
) -> tuple[int, int]:
    """Parameters of the sites that are no units, because they make keys and values: dense, and under a KV plan."""
    if curves is None or plan is None:
        return 0, 0
    before = sum(s.parameters for s in sites) - sum(u.parameters for u in units)
    dense, now = plan.weights(curves.units)
    return before, before - dense + now


def removed(plan: Plan, units: Iterable[Unit], latents: tuple[int, int] = (0, 0)) -> float:
    """Share of the layers' parameters that a plan removes; `latents`: what `latent_weights` gives."""
    units = tuple(units)
    return 1 - (plan.kept(units) + latents[1]) / (sum(u.parameters for u in units) + latents[0])


def predicted_nll(plan: Plan, spectra: Mapping[str, Spectrum]) -> float:
    """Summed predicted loss above dense, nats per token: from spectra alone, no measurement in it."""
    return float(sum(spectra[p].predicted(r) for p, r in plan.ranks.items() if r is not None))


def whole_table(units: tuple[Unit, ...], recipe: Recipe) -> list[tuple[Unit, float]]:
    """Every (unit, keep) of the sensitivity table, unit by unit: the candidates of one share most of their work."""
    return [(u, k) for u in open_units(units, recipe) for k in CANDIDATES]
