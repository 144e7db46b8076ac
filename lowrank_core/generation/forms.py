"""The forms in which a site can run, as matrices: its products joined, folded, padded or multiplied out.

Every function here gives matrices of the same map up to rounding; which of them is fastest, `products` measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..models.dense import DENSE, dense_weight
from ..modules import FactoredLinear, JointLinear, PivotedLinear
from ..modules.product import ROWS, Product
from ..modules.running import Member, Rest, Running, Together


@dataclass(frozen=True)
class Matrices:
    """A site's map: z = first x; y = z, or then z, or [z, then z] gathered by `order`; and the bias."""

    first: Tensor  # (r, n)
    then: Tensor | None = None  # (m, r); where `both`, (m − r, r)
    both: bool = False
    order: Tensor | None = None  # (m,) where each output stands in [z, then z]
    bias: Tensor | None = None  # (m,)

    @property
    def d_out(self) -> int:
        if self.order is not None:
            return len(self.order)
        return len(self.first if self.then is None else self.then) + (len(self.first) if self.both else 0)


def matrices_of(module: nn.Module) -> Matrices | None:
    """The Matrices of a site's module as it stands; None for what is neither a plain linear nor ours."""
    if isinstance(module, PivotedLinear):
        return Matrices(module.weight, module.weight_u, True, module.order, module.bias)
    if isinstance(module, FactoredLinear):
        return Matrices(module.weight, module.weight_u, bias=module.bias)
    if isinstance(module, JointLinear):
        return Matrices(module.source.weight, module.weight, bias=module.bias)
    return Matrices(dense_weight(module), bias=module.bias) if type(module) in DENSE else None


def outlines(sites: Sequence[Matrices]) -> list[Matrices]:
    """The shapes of sites without their numbers; a factor that several use is still one."""
    made: dict[int, Tensor] = {}

    def bare(t: Tensor | None) -> Tensor | None:
        return None if t is None else made.setdefault(id(t), torch.empty_like(t, device="meta"))

    return [Matrices(bare(s.first), bare(s.then), s.both, bare(s.order), bare(s.bias)) for s in sites]


def dense(site: Matrices) -> Matrices:
    """The map as one matrix, multiplied out in float32 or better."""
    if site.then is None:
        return site
    wide = torch.promote_types(site.first.dtype, torch.float32)
    first = site.first.to(wide)
    weight = site.then.to(wide) @ first
    if site.both:
        weight = torch.cat([first, weight])
    if site.order is not None:
        weight = weight[site.order]
    return Matrices(weight.to(site.first.dtype), bias=site.bias)


def padded(site: Matrices, multiple: int) -> Matrices:
    """The map with its rank brought to a multiple by rows and columns of zeros; dense ones are left alone."""
    extra = 0 if site.then is None else -len(site.first) % multiple
    if not extra:
        return site
    rank, order = len(site.first), site.order
    if site.both:
        order = torch.arange(site.d_out, device=site.first.device) if order is None else order
        order = torch.where(order < rank, order, order + extra)
    first = nn.functional.pad(site.first, (0, 0, 0, extra))
    return replace(site, first=first, then=nn.functional.pad(site.then, (0, extra)), order=order)


def reordered(site: Matrices, outputs: Tensor) -> Matrices:
    """The map with its outputs in another order: y′[j] = y[outputs[j]]; costs nothing but where there is a gather."""
    bias = None if site.bias is None else site.bias[outputs]
    if site.both:
        order = outputs if site.order is None else site.order[outputs]
        natural = torch.arange(len(order), device=order.device)
        return replace(site, order=None if torch.equal(order, natural) else order, bias=bias)
    if site.then is None:
        return replace(site, first=site.first[outputs], bias=bias)
    return replace(site, then=site.then[outputs], bias=bias)


def fold(feeding: dict[str, Matrices], fed: Matrices) -> tuple[dict[str, Matrices], Matrices]:
    """Sites whose output channels go, one by one and bent, to the same channels of another site's input; and that site.

    The gather of the first pivoted one is folded away: all of them give their outputs in its order, and the columns of
    the one that reads them are put in that order.
    """
    pivot = next((s for s in feeding.values() if s.both and s.order is not None), None)
    if pivot is None:
        return feeding, fed
    natural = pivot.order.argsort()  # natural[j]: the output that stands at j
    return {path: reordered(s, natural) for path, s in feeding.items()}, replace(fed, first=fed.first[:, natural])


def rest_of(site: Matrices, layout: str) -> Rest | None:
    """What follows the first product; None where nothing does."""
    if site.then is None:
        return None if site.bias is None else Rest(None, bias=site.bias)
    if site.both:
        return Rest(Product(site.then, None, layout), site.order, True, site.bias)
    return Rest(Product(site.then, site.bias, layout))


def alone(site: Matrices, first: str = ROWS, then: str = ROWS) -> nn.Module:
    """The module of one site, its products in these layouts."""
    if site.then is None:
        return Product(site.first, site.bias, first)
    return Running(Product(site.first, None, first), rest_of(site, then))


def together(sites: Sequence[Matrices], first: str = ROWS, then: Sequence[str] | None = None) -> list[nn.Module]:
    """The modules of sites that read one input, with one first product; a factor that several use is in it once."""
    then = then or [ROWS] * len(sites)
    stacked, place, end = [], {}, 0
    for site in sites:
        if id(site.first) not in place:
            place[id(site.first)] = slice(end, end := end + len(site.first))
            stacked.append(site.first)
    product = Together(Product(torch.cat(stacked), None, first), [place[id(s.first)] for s in sites])
    return [Member(product, i, rest_of(s, layout)) for i, (s, layout) in enumerate(zip(sites, then, strict=True))]
