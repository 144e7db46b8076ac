"""bfloat16 on a CPU that computes it slowly: its products are taken in float32, a slice of the weight at a time.

An x86 without AVX-512 has no arithmetic for bfloat16, and torch's products of it run there at a sixth of float32's
speed (AMD EPYC, Zen 1, torch 2.13, 512 rows with 2048 × 2048: 5.4 against 33.8 Gflop/s). Sums are rounded once, to
bfloat16, as elsewhere. Of one row, whose product takes as long as reading the weight, there is nothing to gain.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .room import slow_bfloat16

SLICE = 2**22  # values of a weight that are float32 at a time: 16 MB
ROWS = 4  # of fewer, the product is left as it is


def in_float32(model: nn.Module) -> AbstractContextManager:
    """A context in which this model's products take float32, where that is faster; enter it around a pass only."""
    weight = next(model.parameters())
    slow = weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and slow_bfloat16()
    return _InFloat32() if slow else nullcontext()


class _InFloat32(TorchDispatchMode):
    """Takes `mm`, `addmm` and `bmm` of bfloat16, which linear layers and their gradients come down to."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in WHOLE:  # in inference mode they arrive as they are
            with self:
                return func.decompose(*args, **(kwargs or {}))
        take = PRODUCTS.get(func)
        if take is not None and not kwargs and args[-1].dtype == torch.bfloat16 and args[-2].shape[-2] >= ROWS:
            return take(*args)
        return func(*args, **(kwargs or {}))


def _mm(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """(n, m) a (n, k) @ b (k, m) + bias (m,)."""
    wide, width = a.float(), max(1, SLICE // b.shape[0])
    out = a.new_empty(a.shape[0], b.shape[1])
    for at in range(0, b.shape[1], width):
        part = wide @ b[:, at : at + width].float()
        out[:, at : at + width] = part if bias is None else part.add_(bias[at : at + width])
    return out


def _addmm(bias: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return _mm(a, b, bias) if bias.dim() == 1 else bias + _mm(a, b)


def _bmm(a: Tensor, b: Tensor) -> Tensor:
    return (a.float() @ b.float()).to(a.dtype)


aten = torch.ops.aten
WHOLE = (aten.linear.default, aten.matmul.default)
PRODUCTS = {aten.mm.default: _mm, aten.addmm.default: _addmm, aten.bmm.default: _bmm}
