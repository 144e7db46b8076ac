"""Second models that share every tensor with the first, and the exchange of single modules."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from ..modules import FactoredLinear
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


def factored(linear: nn.Module, left, right, bias=None) -> FactoredLinear:
    """The FactoredLinear that takes a linear's place, in its dtype, on its device, with its bias or another."""
    weight = linear.weight
    bias = linear.bias if bias is None else bias.to(weight.device, weight.dtype)
    return FactoredLinear(left.to(weight.device, weight.dtype), right.to(weight.device, weight.dtype), bias)


def modules_of(model: nn.Module, unit: Unit, left: Tensor, right: Tensor, shift: Tensor | None = None) -> dict[str, nn.Module]:
    """Site path → the module that takes its place, for a unit's factors left (Σ m, r) and right (r, n).

    `shift` (Σ m,): what is added to the biases.
    """
    linears = {s.path: model.get_submodule(s.path) for s in unit.sites}
    lefts = dict(zip(linears, left.split([s.d_out for s in unit.sites]), strict=True))
    shifts = dict(zip(linears, shift.split([s.d_out for s in unit.sites]), strict=True)) if shift is not None else {}
    biases = {
        path: shifts[path] if linear.bias is None else shifts[path] + linear.bias.double()
        for path, linear in linears.items()
        if path in shifts
    }
    return {path: factored(linear, lefts[path], right, biases.get(path)) for path, linear in linears.items()}
