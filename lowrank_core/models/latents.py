"""Layers that make latents, from bases of a block's keys and values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..errors import NonFinite
from ..linalg.pivot import pivoted
from ..modules import LatentGroup, LatentLinear, LatentRest
from ..modules.latent import indices
from ..modules.pivoted import packed
from .attention import KVPlace
from .sites import weight_of


@dataclass(frozen=True)
class Projection:
    """ŷ = decoder encoder (y − mean) + mean for some of a block's outputs; None for both: they are kept whole."""

    rows: tuple[int, ...]  # first and last + 1 of each run, of the block's keys and values, keys first
    decoder: Tensor | None  # (w, r)
    encoder: Tensor | None  # (r, w)
    mean: Tensor | None  # (w,)


def latent_modules(model: nn.Module, place: KVPlace, projections: tuple[Projection, ...]) -> dict[str, nn.Module]:
    """Path → the module that takes its place, for Projections of all outputs, each of which has latents of its own.

    Keys and values are made by one module where a projection has both or they came from one layer, else by two. In the
    dtype and on the device of the layers that stood there, compressed or not. NonFinite where a row is beyond it.
    """
    weight, bias = stacked(model, place)
    like = next(model.get_submodule(place.key).parameters())
    lead = (weight[: place.lead], bias[: place.lead])
    weight, bias = weight[place.lead :], bias[place.lead :]
    if place.value is not None and not any(p.rows[0] < place.keys < p.rows[-1] for p in projections):
        keys = [p for p in projections if p.rows[0] < place.keys]
        values = [replace(p, rows=tuple(r - place.keys for r in p.rows)) for p in projections if p not in keys]
        return {
            place.key: _latent_linear(weight[: place.keys], bias[: place.keys], keys, lead, like),
            place.value: _latent_linear(weight[place.keys :], bias[place.keys :], values, lead, like),
        }
    made = _latent_linear(weight, bias, projections, lead, like)
    if place.value is None:
        return {place.key: made}
    made.shown = place.keys
    return {place.key: made, place.value: LatentRest(made)}


def stacked(model: nn.Module, place: KVPlace) -> tuple[Tensor, Tensor]:
    """(lead + d, d_in) float64 weight and (lead + d,) bias of a block's keys and values, keys first."""
    layers = [model.get_submodule(p) for p in (place.key, place.value) if p is not None]
    weights = [weight_of(m) for m in layers]
    biases = [
        w.new_zeros(len(w)) if m.bias is None else m.bias.detach().to(w) for m, w in zip(layers, weights, strict=True)
    ]
    return torch.cat(weights), torch.cat(biases)


def _latent_linear(
    weight: Tensor, bias: Tensor, projections: Sequence[Projection], lead: tuple[Tensor, Tensor], like: Tensor
) -> LatentLinear:
    """The LatentLinear of decoder encoder (W x + b − mean) + mean; pivots are chosen in float64, then it is cast."""
    bases, coefficients, pivots, groups, shift = [], [], [], [], bias.clone()
    for p in projections:
        index = indices(p.rows).to(weight.device)
        if p.decoder is None:
            left, right = _whole(weight[index])
        else:
            decoder, encoder, mean = p.decoder.to(weight), p.encoder.to(weight), p.mean.to(weight)
            left, right = decoder, encoder @ weight[index]
            shift[index] = decoder @ (encoder @ (bias[index] - mean)) + mean
        chosen, basis, others = pivoted(left, right)
        pivots.append(index[chosen])
        bases.append(basis)
        coefficients.append(others)
        groups.append(LatentGroup(p.rows, len(basis)))
    of = coefficients[0] if len(groups) == 1 else torch.cat([c.flatten() for c in coefficients])
    parts = [torch.cat([lead[0], *bases]), of, torch.cat([lead[1], shift])]
    basis, of, shift = (p.to(like.device, like.dtype) for p in parts)
    if not (basis.isfinite().all() and shift.isfinite().all()):
        raise NonFinite(f"A key or value row is beyond {like.dtype}.", "Take float32 or bfloat16.")
    bits = packed(torch.cat(pivots), len(weight)).to(like.device)
    groups = groups if len(groups) > 1 else ()
    return LatentLinear(basis, of, bits, shift if bool(shift.any()) else None, len(lead[0]), groups=groups)


def _whole(weight: Tensor) -> tuple[Tensor, Tensor]:
    """left, right with left @ right = W and the smallest inner size that is lossless for every W of this shape."""
    d_out, d_in = weight.shape
    if d_in < d_out:
        return weight, torch.eye(d_in, dtype=weight.dtype, device=weight.device)
    return torch.eye(d_out, dtype=weight.dtype, device=weight.device), weight
