"""The anchored walk: factors made block by block, on the inputs that the model compressed so far really gives.

Dense and compressed hidden states travel side by side; only one input group's moments are in memory at a time.
"""

import copy
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import NonFinite
from ..jobs import Job, Progress
from ..linalg import check_finite, root_of
from ..models.blocks import BlockRunner
from ..models.surgery import modules_of, put, share_copy
from ..settings import WALK_BATCH
from ..types import Plan, Unit
from . import spill
from .build import Workbench
from .recipe import Recipe, Walk
from .units import units_of


@dataclass
class Moments:
    """Running sums over tokens of one input group: x the dense model's inputs, z the compressed model's."""

    tokens: int
    cross: Tensor  # (n, n) Σ x zᵀ
    own: Tensor  # (n, n) Σ z zᵀ
    error: Tensor | None  # (m, n) Σ (h − k) zᵀ, h and k the residual streams the site's output is added to

    @classmethod
    def zeros(cls, unit: Unit, carried: bool, device: torch.device) -> "Moments":
        def zero(rows: int) -> Tensor:
            return torch.zeros(rows, unit.d_in, dtype=torch.float64, device=device)

        return cls(0, zero(unit.d_in), zero(unit.d_in), zero(unit.d_out) if carried else None)

    def add(self, dense: "Seen", compressed: "Seen") -> None:
        """Add what both models gave on the same tokens."""
        z = compressed.inputs.flatten(0, -2).double()
        self.tokens += len(z)
        self.cross.addmm_(dense.inputs.flatten(0, -2).double().T, z)
        self.own.addmm_(z.T, z)
        if self.error is not None:
            self.error.addmm_((dense.residual - compressed.residual).flatten(0, -2).double().T, z)


def walk(bench: Workbench, recipe: Recipe, plan: Plan, model: nn.Module) -> Job[None]:
    """Put the factors of a plan into `model`, a copy of the dense one, walking the blocks in order (METHODS §4.4).

    With x a site's dense inputs and z its inputs in the model compressed so far, the best unconstrained weight for
    the target W (β x + (1 − β) z) on inputs z is M = W P C⁻¹, P = E[(β x + (1 − β) z) zᵀ], C = E[z zᵀ], both with the
    same ridge. Where a site's output is added to the residual stream, the target also makes good a share of the
    stream's error: `carry` · (h − k). The factors are the truncated SVD of M in the metric of C and, where the
    unit's method reads gradients, of the output-gradient moment G. In the end the gain of each channel of the last
    norm is fitted, by least squares, to what the dense model gives there: what errors have made too loud is lowered.
    Raises NonFinite naming the unit. *Limits*: input-only units are cut in the metric of C alone.
    """
    units = units_of(bench.loaded.anatomy.sites, recipe)
    how = recipe.walk
    if recipe.gradients:
        yield from bench.collect_fisher()
    anatomy, device = bench.loaded.anatomy, bench.loaded.device
    norm = anatomy.norm if how.norm else None
    blocks = sorted({u.block for u in units if plan.ranks.get(u.path) is not None})
    if not blocks:
        return
    dense = Lane(share_copy(bench.loaded.model), anatomy.block_paths)
    compressed = Lane(model, anatomy.block_paths)
    batches = [b.to(device) for b in bench.windows.split(WALK_BATCH)]
    for lane in (dense, compressed):
        lane.hidden = [lane.runner.embed(ids) for ids in batches]
    last = len(anatomy.block_paths) if norm else blocks[-1] + 1
    groups = [_groups(units, index, plan) for index in range(last)]
    done, total = 0, len(batches) * sum(len(of) + 1 for of in groups)
    for index, of_block in enumerate(groups):
        key = bench.source.walk({**recipe.decisive(), "ranks": dict(plan.ranks)}, index)
        made = spill.read_pairs(bench.store, key, device) if bench.large else {}  # by a walk that was stopped
        for unit in (u for u in units if u.path in made):
            for path, module in modules_of(bench.loaded.model, unit, *made[unit.path]).items():
                put(model, path, module)
        done += len(batches) * len(of_block) if made else 0
        for group in of_block if not made else ():
            carried = how.carry > 0 and len(group) == 1 and group[0].role in anatomy.carries
            moments = Moments.zeros(group[0], carried, device)
            for i, ids in enumerate(batches):
                seen = (lane.look(index, i, ids, group[0], carried) for lane in (dense, compressed))
                moments.add(*seen)
                done += 1
                yield Progress("walk", done, total, group[0].label)
            for unit in group:
                made[unit.path] = factors(bench, unit, plan.ranks[unit.path], moments, how)
                if bench.large:  # as they are remembered, so that a walk that was stopped ends as one that was not
                    made[unit.path] = tuple(part.float() for part in made[unit.path])
                for path, module in modules_of(bench.loaded.model, unit, *made[unit.path]).items():
                    put(model, path, module)
            del moments
        if bench.large and made:
            spill.keep_pairs(bench.store, key, made)
        for i, ids in enumerate(batches):
            for lane in (dense, compressed):
                lane.hidden[i] = lane.runner.step(index, lane.hidden[i], ids)
            done += 1
            yield Progress("walk", done, total, f"block {index}")
        if model is bench.loaded.model:  # it is consumed: nobody reads this block's dense weights any more
            for path in (s.path for u in units if u.block == index for s in u.sites):
                put(dense.model, path, model.get_submodule(path))
    if norm:
        own = bench.loaded.model.get_submodule(norm)
        put(model, norm, fitted(own, dense.hidden, compressed.hidden, anatomy.norm_plus))


def walk_once(bench: Workbench, recipe: Recipe, plan: Plan, model: nn.Module) -> Job[None]:
    """`walk`, unless it was the workbench's last one: then its modules stand in `model` at once."""
    name = json.dumps([recipe.decisive(), dict(plan.ranks)], sort_keys=True)
    if bench.walked is None or bench.walked[0] != name:
        yield from walk(bench, recipe, plan, model)
        if model is bench.loaded.model:
            return
        places = (*bench.sites, bench.loaded.anatomy.norm)
        found = {path: model.get_submodule(path) for path in places if path}
        bench.walked = (name, {p: m for p, m in found.items() if m is not bench.loaded.model.get_submodule(p)})
        return
    for path, module in bench.walked[1].items():
        put(model, path, module)


@torch.no_grad()
def fitted(norm: nn.Module, dense: Iterable[Tensor], compressed: Iterable[Tensor], plus: float = 0.0) -> nn.Module:
    """A copy of a norm whose gains bring what it makes of the compressed model's states closest to the dense ones.

    dense and compressed: batches (B, T, d) of the states that enter it. A channel that is silent keeps its gain.
    `plus`: what the norm adds to its weight to make the gains. A bias is scaled with its channel.
    """
    cross, own = 0.0, 0.0
    for states, others in zip(dense, compressed, strict=True):
        wanted, given = (norm(s).flatten(0, -2).double() for s in (states, others))
        cross, own = cross + (wanted * given).sum(0), own + given.square().sum(0)
    gain = torch.where(own > 0, cross / own, 1.0)
    check_finite(gain, "The last norm's fit")
    made = copy.deepcopy(norm)
    weight = (norm.weight.double() + plus) * gain - plus
    made.weight = nn.Parameter(weight.to(norm.weight.dtype), requires_grad=False)
    if getattr(norm, "bias", None) is not None:
        made.bias = nn.Parameter((norm.bias.double() * gain).to(norm.bias.dtype), requires_grad=False)
    return made


def factors(bench: Workbench, unit: Unit, rank: int, moments: Moments, how: Walk) -> tuple[Tensor, Tensor]:
    """left (m, r) and right (r, n), float64, of the best weight of a rank on the compressed inputs."""
    weight, n = bench.unit_weight(unit), moments.tokens
    own = moments.own / n
    energy = own.diagonal().mean()
    same = (how.ridge * energy if energy > 0 else 1.0) * torch.eye(len(own), dtype=own.dtype, device=own.device)
    target = weight @ (how.beta * moments.cross / n + (1 - how.beta) * own + same)
    if moments.error is not None:
        target = target + how.carry * moments.error / n
    inner, inner_inverse = root_of(own, how.ridge)
    outer, outer_inverse = bench.output_root(unit, how.ridge)
    try:
        best = torch.linalg.solve(own + same, target, left=False)
        u, sigma, v = torch.linalg.svd(outer @ best @ inner, full_matrices=False)
    except torch.linalg.LinAlgError as error:
        raise NonFinite(f"The walk's factors of {unit.path} do not exist: {error}.", "Walk with more ridge.") from error
    root = sigma[:rank].sqrt()
    left, right = outer_inverse @ (u[:, :rank] * root), (root[:, None] * v[:rank]) @ inner_inverse
    check_finite(left, f"The walk's factor of {unit.path}")
    check_finite(right, f"The walk's factor of {unit.path}")
    return left, right


def _groups(units: tuple[Unit, ...], block: int, plan: Plan) -> list[list[Unit]]:
    """The units of a block that are compressed, those that read one input together, in the order of the data flow."""
    groups: dict[str, list[Unit]] = {}
    for unit in units:
        if unit.block == block and plan.ranks.get(unit.path) is not None:
            groups.setdefault(unit.group, []).append(unit)
    return list(groups.values())


@dataclass
class Seen:
    """What one model gave on a batch: a site's inputs, and the residual stream its output is added to."""

    inputs: Tensor
    residual: Tensor | None


class Lane:
    """One of the two models, with the hidden states that enter the block at hand."""

    def __init__(self, model: nn.Module, block_paths: tuple[str, ...]):
        self.model = model
        self.runner = BlockRunner(model, block_paths)
        self.hidden: list[Tensor] = []  # batch → (B, T, d)

    def look(self, index: int, batch: int, ids: Tensor, unit: Unit, carried: bool) -> Seen:
        """Run one block on one batch and see what a unit reads in it."""
        found: list[tuple[Tensor, Tensor]] = []
        with _watching(self.model.get_submodule(unit.sites[0].path), found):
            after = self.runner.step(index, self.hidden[batch], ids)
        inputs, outputs = found[0]
        if not carried:
            return Seen(inputs, None)
        # attention adds to what enters the block; the last layer adds to what leaves it without its output
        return Seen(inputs, self.hidden[batch] if unit.role == "o" else after - outputs.view_as(after))


@contextmanager
def _watching(module: nn.Module, found: list) -> Iterator[None]:
    handle = module.register_forward_hook(lambda m, args, output: found.append((args[0], output)))
    try:
        yield
    finally:
        handle.remove()
