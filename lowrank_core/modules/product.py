"""A matrix product laid out in memory as the device reads it fastest. For running a model, not for storing one."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

ROWS, COLUMNS, PACKED = "rows", "columns", "packed"
LAYOUTS = (ROWS, COLUMNS, PACKED)
HINT = 256  # rows that the packed layout is made for; it serves one row as well as one that is made for it (measured)


class Product(nn.Module):
    """y = W x + bias, with W (m, n) in one of LAYOUTS.

    `rows`: as nn.Linear has it, the tensor itself. `columns`: the same numbers, column after column. `packed`: in
    oneDNN's blocks for matrix products on a CPU.

    `call` is the product without the module around it: what a module looks up and hooks at every call costs as much as
    a small product itself.

    *Limits*: it stays on its device; a packed one cannot be read back.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, layout: str = ROWS):
        super().__init__()
        self.layout, (self.out_features, self.in_features) = layout, weight.shape
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.packed_bytes = 0  # of the weight where it is no parameter
        weight = weight.detach()
        if layout == PACKED:
            self.packed_bytes = weight.numel() * weight.element_size()
            self.call = _packed(weight.contiguous(), self.bias)
        else:
            weight = weight.T.contiguous().T if layout == COLUMNS else weight.contiguous()
            self.weight = nn.Parameter(weight, requires_grad=False)
            self.call = _plain(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(…, n) → (…, m)."""
        return self.call(x)

    def extra_repr(self) -> str:
        return f"{self.in_features} → {self.out_features}, {self.layout}, bias={self.bias is not None}"


def _plain(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    linear = nn.functional.linear
    return lambda x: linear(x, weight, bias)


def _packed(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    blocks = torch.ops.mkldnn._reorder_linear_weight(weight, HINT)
    linear = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: linear(x, blocks, bias, "none", [], "")


@functools.cache
def layouts(device: str, dtype: torch.dtype) -> tuple[str, ...]:
    """Those of LAYOUTS that work on a kind of device in a dtype: tried on a small matrix."""
    if device != "cpu":
        return ROWS, COLUMNS
    x, weight = torch.ones(2, 8, dtype=dtype), torch.ones(16, 8, dtype=dtype)
    try:
        with torch.inference_mode():
            works = torch.equal(Product(weight, None, PACKED)(x), torch.full((2, 16), 8, dtype=dtype))
    except (RuntimeError, AttributeError):  # torch without oneDNN, or a dtype that it lacks on this processor
        works = False
    return LAYOUTS if works else (ROWS, COLUMNS)
