"""Second models that share every tensor with the first, and the exchange of single modules."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from ..errors import NonFinite
from ..linalg.pivot import pivoted as pivot
from ..modules import FactoredLinear, JointLinear, PivotedLinear
from ..modules.pivoted import packed
from ..types import Unit


def share_copy(model: nn.Module) -> nn.Module:
    """A model of its own modules whose parameters and buffers are the original's: it costs no weights."""
    memo = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo)


def put(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Set the module at a path and return the one that stood there."""
    parent, _, name = path.rpartition(".")
    holder = model.get_submodule(parent)
    old = getattr(holder, name)
    setattr(holder, name, module)
    return old


@contextmanager
def exchanged(model: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[nn.Module]:
    """The model with these modules in place, put back on leaving."""
    old: dict[str, nn.Module] = {}
    try:
        for path, module in modules.items():
            old[path] = put(model, path, module)
        yield model
    finally:
        for path, module in old.items():
            put(model, path, module)


def factored(linear: nn.Module, left: Tensor, right: Tensor, bias: Tensor | None = None) -> FactoredLinear:
    """The FactoredLinear that takes a linear's place, in its dtype, on its device; left (d_out, r), right (r, d_in).

    `bias` (d_out,): the new layer's, where it is not the linear's own (centring adds one to layers without).
    """
    weight = linear.weight
    return FactoredLinear(_like(left, weight), _like(right, weight), _bias(linear, bias))


def pivoted(linear: nn.Module, left: Tensor, right: Tensor, bias: Tensor | None = None) -> PivotedLinear:
    """The PivotedLinear of left @ right that takes a linear's place; pivots are chosen in float64, then it is cast.

    Raises NonFinite, also where a row of the product is beyond the linear's dtype (float16 ends at 65504).
    """
    weight = linear.weight
    pivots, basis, coefficients = pivot(left.to(weight.device), right.to(weight.device))
    basis = _like(basis, weight)
    if not basis.isfinite().all():
        raise NonFinite(f"A row of the factors' product is beyond {weight.dtype}.", "Take float32, or plain factors.")
    bits = packed(pivots, len(left))
    return PivotedLinear(basis, _like(coefficients, weight), bits, _bias(linear, bias))


def joined(
    linears: Sequence[nn.Module],
    lefts: Sequence[Tensor],
    right: Tensor,
    biases: Sequence[Tensor | None] | None = None,
) -> list[nn.Module]:
    """The modules that take the place of linears of one input: a FactoredLinear, and JointLinear that use its right.

    lefts (d_out of each, r), right (r, d_in), biases as in `factored`.
    """
    biases = biases or [None] * len(linears)
    source = factored(linears[0], lefts[0], right, biases[0])
    others = [
        JointLinear(_like(left, linear.weight), source, _bias(linear, bias))
        for linear, left, bias in zip(linears[1:], lefts[1:], biases[1:], strict=True)
    ]
    return [source, *others]


def modules_of(
    model: nn.Module, unit: Unit, left: Tensor, right: Tensor, shift: Tensor | None = None
) -> dict[str, nn.Module]:
    """Site path → the module that takes its place, for a unit's factors left (Σ m, r) and right (r, n), in its storage.

    `shift` (Σ m,): what is added to the biases.
    """
    paths, sizes = [s.path for s in unit.sites], [s.d_out for s in unit.sites]
    linears = [model.get_submodule(path) for path in paths]
    shifts = [None] * len(sizes) if shift is None else shift.split(sizes)
    biases = [
        own if own is None or linear.bias is None else own + linear.bias
        for own, linear in zip(shifts, linears, strict=True)
    ]
    if len(paths) > 1:
        return dict(zip(paths, joined(linears, left.split(sizes), right, biases), strict=True))
    make = pivoted if unit.storage == "pivoted" else factored
    return {paths[0]: make(linears[0], left, right, biases[0])}


def _like(values: Tensor, weight: Tensor) -> Tensor:
    return values.to(weight.device, weight.dtype)


def _bias(linear: nn.Module, bias: Tensor | None) -> Tensor | None:
    """The linear's own bias where no other is given."""
    return linear.bias if bias is None else _like(bias, linear.weight)
