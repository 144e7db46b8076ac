"""How a block's keys and values become a few latents: one row per metric (no torch at the top: menus read this)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class KVMethod:
    """An entry of KV_METHODS: which metric the basis is best in, and whether keys and values share their latents."""

    key: str
    label: str
    line: str  # one sentence for menus and docs
    link: str
    joint: bool = False  # keys and values share one basis; else each has its own
    outputs: str = "none"  # what weighs an error of an output: none, or the loss gradient
    inputs: str = "second moment"  # what weighs the directions: magnitude (per channel), second moment, covariance


KV_METHODS: dict[str, KVMethod] = {
    m.key: m
    for m in (
        KVMethod(
            "joint",
            "Joint",
            "Keys and values share their latents, weighed by what the loss makes of both; the mean is kept whole.",
            "https://arxiv.org/abs/2405.04434",
            joint=True,
            outputs="gradient",
            inputs="covariance",
        ),
        KVMethod(
            "two-sided",
            "Two-sided",
            "Keys and values apart, weighed by their second moment and by the loss gradient's.",
            "https://arxiv.org/abs/2604.00821",
            outputs="gradient",
        ),
        KVMethod(
            "asvd-i",
            "ASVD-I",
            "Keys and values apart, weighed by their second moment: least squared error of the outputs.",
            "https://arxiv.org/abs/2503.17101",
        ),
        KVMethod(
            "asvd-0",
            "ASVD-0",
            "Keys and values apart, from weights whose input channels are scaled by their mean magnitude.",
            "https://arxiv.org/abs/2312.05821",
            inputs="magnitude",
        ),
    )
}
DEFAULT = "joint"
RIDGE = 1e-2  # share of the mean gradient energy added to every output: a metric from few tokens is not trusted whole


@dataclass(frozen=True)
class KVStatistics:
    """What calibration knows of one block's keys and values (before norm and rotation); float64 on one device.

    The outputs are d = d_k + d_v long, keys first; gradients are of the summed token losses with labels sampled from
    the model, so that a key's are those of every query that will meet it.
    """

    keys: int  # d_k
    tokens: int
    mean: Tensor  # (d,)
    gram: Tensor  # (d, d) E[y yᵀ]
    output_gram: Tensor  # (d, d) E[g gᵀ]
    sample: Tensor  # (s, d) outputs of some tokens
    sample_gradient: Tensor  # (s, d) gradients at the same tokens
    scaled: Tensor | None = None  # (d, d) W S² Wᵀ with S = diag(mean |x|^½): the second moment as ASVD-0 sees it


@dataclass(frozen=True)
class Basis:
    """Latents of every size for some of a block's outputs: y ≈ decoder[:, :r] encoder[:r] (y − mean) + mean."""

    rows: tuple[int, ...]  # first and last + 1 of each run of the block's outputs that it is for
    decoder: Tensor  # (w, R)
    encoder: Tensor  # (R, w), encoder @ decoder = I
    mean: Tensor  # (w,) zero where the method does not centre
    loss: Tensor  # (R + 1,) predicted nats per token at 0 … R latents


def runs(method: KVMethod, keys: int, values: int, groups: int = 1) -> dict[str, tuple[int, ...]]:
    """Name → rows of what gets a basis of its own: "kv", or "k" and "v"; of several groups of heads "kv.0", "kv.1" …"""
    k, v = keys // groups, values // groups
    found: dict[str, tuple[int, ...]] = {}
    for g in range(groups):
        mine = {"k": (g * k, g * k + k), "v": (keys + g * v, keys + g * v + v)}
        if method.joint:
            mine = {"kv": (0, keys + values) if groups == 1 else (*mine["k"], *mine["v"])}
        found |= {part if groups == 1 else f"{part}.{g}": rows for part, rows in mine.items()}
    return found


def bases(statistics: KVStatistics, method: KVMethod, max_rank: int, groups: int = 1) -> tuple[Basis, ...]:
    """One Basis for keys and values together, or one for keys and one for values; of each group of heads.

    max_rank: no more directions than this are there, the width of the layer's input.
    """
    k, d = statistics.keys, len(statistics.mean)
    return tuple(_basis(statistics, method, rows, max_rank) for rows in runs(method, k, d - k, groups).values())


def _basis(statistics: KVStatistics, method: KVMethod, rows: tuple[int, ...], max_rank: int) -> Basis:
    """SVD of L S with L Lᵀ the metric of the outputs and S Sᵀ their moment; the prediction is priced token by token.

    The decoder is L⁻¹ U and the encoder Uᵀ L, so that at full rank nothing is lost; the loss discarded to second order
    is ½ Σ_{i>r} σ_i² where outputs and gradients are independent, and ½ E[(gᵀ Δy)²] on the sample: the geometric mean
    of both is the prediction (METHODS §1, as for `two-sided` weights).
    """
    import torch

    from ..linalg import corner_sums, square_root, tail_sums
    from ..modules.latent import indices

    part = indices(rows).to(statistics.mean.device)
    mean = statistics.mean[part]
    centred = method.inputs == "covariance"
    moment = statistics.scaled if method.inputs == "magnitude" else statistics.gram
    moment = moment[part][:, part] - torch.outer(mean, mean) if centred else moment[part][:, part]
    mean = mean if centred else torch.zeros_like(mean)
    gradient = statistics.output_gram[part][:, part]
    identity = torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
    outer, inverse = square_root(gradient, RIDGE) if method.outputs == "gradient" else (identity, identity)
    weighed = outer @ moment @ outer
    values, vectors = torch.linalg.eigh((weighed + weighed.T) / 2)
    rank = min(len(mean), max_rank)
    square, turn = values.flip(0).clamp_min(0)[:rank], vectors.flip(1)[:, :rank]
    decoder, encoder = inverse @ turn, turn.T @ outer
    kronecker = 0.5 * tail_sums(square) * (1.0 if method.outputs == "gradient" else gradient.diagonal().mean())
    y, g = statistics.sample[:, part] - mean, statistics.sample_gradient[:, part]
    products = (g @ decoder) * (y @ encoder.T)  # (s, R)
    priced = 0.5 * corner_sums(products.T @ products / max(len(y), 1))
    priced = priced.flip(0).cummax(0).values.flip(0)  # fewer latents never count as the cheaper choice
    return Basis(rows, decoder, encoder, mean, (kronecker * priced).sqrt())
