"""What runs at a site of a model that is made ready: its products, the first of them shared with its neighbours."""

import torch
from torch import Tensor, nn

from .product import Product


class Rest(nn.Module):
    """What follows the first product z: nothing, a second product, or that gathered with z itself (pivoted)."""

    def __init__(
        self, then: Product | None, order: Tensor | None = None, both: bool = False, bias: Tensor | None = None
    ):
        """`both`: the outputs are [z, then z]; `order` (m,) says where each stands there; `bias` (m,) comes last."""
        super().__init__()
        self.then, self.both = then, both
        self.register_buffer("order", order, persistent=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, z: Tensor) -> Tensor:
        """(…, r) → (…, m)."""
        y = z if self.then is None else self.then(z)
        if self.both:
            y = torch.cat([z, y], -1)
        if self.order is not None:
            y = y.index_select(-1, self.order)
        return y if self.bias is None else y + self.bias


class Running(nn.Module):
    """One site alone: its first product, and what follows."""

    def __init__(self, first: Product, rest: Rest | None):
        super().__init__()
        self.first, self.rest = first, rest

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_in) → (…, d_out)."""
        z = self.first(x)
        return z if self.rest is None else self.rest(z)


class Together:
    """One product for several sites that read one input: the first to be asked computes it, the others take theirs.

    What was computed is let go once all have taken it, and is never given twice: a site that is asked again computes
    anew, whatever happened to the input in between.
    """

    def __init__(self, first: Product, slices: list[slice]):
        self.first, self.slices = first, slices
        self._input: Tensor | None = None
        self._output: Tensor | None = None
        self._waiting: set[int] = set()

    def take(self, x: Tensor, index: int) -> Tensor:
        """(…, r) the part of the product that belongs to a site."""
        if self._input is not x or index not in self._waiting:
            self._input, self._output = x, self.first(x)
            self._waiting = set(range(len(self.slices)))
        z = self._output[..., self.slices[index]]
        self._waiting.discard(index)
        if not self._waiting:
            self._input = self._output = None
        return z


class Member(nn.Module):
    """One of several sites with a product together, and what follows at this one."""

    def __init__(self, together: Together, index: int, rest: Rest | None):
        super().__init__()
        self.first = together.first if index == 0 else None  # registered once
        self.together, self.index, self.rest = together, index, rest

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_in) → (…, d_out)."""
        z = self.together.take(x, self.index)
        return z if self.rest is None else self.rest(z)
