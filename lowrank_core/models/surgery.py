"""Second models that share every tensor with the first, and the exchange of single modules."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from ..modules import FactoredLinear


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


def factored(linear: nn.Module, left, right) -> FactoredLinear:
    """The FactoredLinear that takes a linear's place, in its dtype, on its device, with its bias."""
    weight = linear.weight
    return FactoredLinear(left.to(weight.device, weight.dtype), right.to(weight.device, weight.dtype), linear.bias)
