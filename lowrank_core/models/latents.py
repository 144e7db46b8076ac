"""Layers that make latents, from bases of a block's keys and values."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import NonFinite
from ..linalg.pivot import pivoted
from ..modules import LatentLinear, LatentRest
from ..modules.pivoted import packed
from .attention import KVPlace
from .sites import weight_of


@dataclass(frozen=True)
class Projection:
    """ŷ = decoder encoder (y − mean) + mean for some of a block's outputs; None for both: they are kept whole."""

    rows: tuple[int, int]  # of the block's keys and values, keys first
    decoder: Tensor | None  # (w, r)
    encoder: Tensor | None  # (r, w)
    mean: Tensor | None  # (w,)


def latent_modules(model: nn.Module, place: KVPlace, projections: tuple[Projection, ...]) -> dict[str, nn.Module]:
    """Path → the module that takes its place, for one Projection of all outputs or one of keys and one of values.

    In the dtype and on the device of the layers that stood there, compressed or not. Of a fused layer, keys and values
    cannot be apart: its projections are joined into one. NonFinite where a row is beyond the layers' dtype.
    """
    weight, bias = stacked(model, place)
    like = next(model.get_submodule(place.key).parameters())
    lead, lead_bias = weight[: place.lead], bias[: place.lead]
    weight, bias = weight[place.lead :], bias[place.lead :]
    if place.value is None and len(projections) > 1:
        projections = (_joined(projections),)
    made = [_latent_linear(weight[slice(*p.rows)], bias[slice(*p.rows)], p, lead, lead_bias, like) for p in projections]
    if len(made) == 2:
        return dict(zip((place.key, place.value), made, strict=True))
    if place.value is None:
        return {place.key: made[0]}
    made[0].shown = place.keys
    return {place.key: made[0], place.value: LatentRest(made[0])}


def stacked(model: nn.Module, place: KVPlace) -> tuple[Tensor, Tensor]:
    """(lead + d, d_in) float64 weight and (lead + d,) bias of a block's keys and values, keys first."""
    layers = [model.get_submodule(p) for p in (place.key, place.value) if p is not None]
    weights = [weight_of(m) for m in layers]
    biases = [
        w.new_zeros(len(w)) if m.bias is None else m.bias.detach().to(w) for m, w in zip(layers, weights, strict=True)
    ]
    return torch.cat(weights), torch.cat(biases)


def _joined(projections: tuple[Projection, ...]) -> Projection:
    """The Projection of all outputs that keeps several ones apart."""
    sizes = [stop - start for start, stop in (p.rows for p in projections)]
    like = next((p.decoder for p in projections if p.decoder is not None), torch.zeros(0, dtype=torch.float64))
    whole = [torch.eye(n, dtype=like.dtype, device=like.device) for n in sizes]
    decoders = [w if p.decoder is None else p.decoder for p, w in zip(projections, whole, strict=True)]
    encoders = [w if p.encoder is None else p.encoder for p, w in zip(projections, whole, strict=True)]
    means = [w.new_zeros(len(w)) if p.mean is None else p.mean for p, w in zip(projections, whole, strict=True)]
    rows = (projections[0].rows[0], projections[-1].rows[1])
    return Projection(rows, torch.block_diag(*decoders), torch.block_diag(*encoders), torch.cat(means))


def _latent_linear(
    weight: Tensor, bias: Tensor, projection: Projection, lead: Tensor, lead_bias: Tensor, like: Tensor
) -> LatentLinear:
    """The LatentLinear of decoder encoder (W x + b − mean) + mean; pivots are chosen in float64, then it is cast."""
    if projection.decoder is None:
        left, right = _whole(weight)
    else:
        decoder, encoder = projection.decoder.to(weight), projection.encoder.to(weight)
        left, right = decoder, encoder @ weight
        mean = projection.mean.to(weight)
        bias = decoder @ (encoder @ (bias - mean)) + mean
    pivots, basis, coefficients = pivoted(left, right)
    parts = [torch.cat([lead, basis]), coefficients, torch.cat([lead_bias, bias])]
    basis, coefficients, bias = (p.to(like.device, like.dtype) for p in parts)
    if not (basis.isfinite().all() and bias.isfinite().all()):
        raise NonFinite(f"A key or value row is beyond {like.dtype}.", "Take float32 or bfloat16.")
    added = bias if bool(bias.any()) else None
    return LatentLinear(basis, coefficients, packed(pivots, len(weight)).to(like.device), added, len(lead))


def _whole(weight: Tensor) -> tuple[Tensor, Tensor]:
    """left, right with left @ right = W and the smallest inner size that is lossless for every W of this shape."""
    d_out, d_in = weight.shape
    if d_in < d_out:
        return weight, torch.eye(d_in, dtype=weight.dtype, device=weight.device)
    return torch.eye(d_out, dtype=weight.dtype, device=weight.device), weight
