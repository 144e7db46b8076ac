"""What runs at a site of a model that is made ready: its products, the first of them shared with its neighbours.

As in `product`, `call` is what a module does without the module around it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .product import Product

Call = Callable[[Tensor], Tensor]


class Rest(nn.Module):
    """What follows the first product z: nothing, a second product, or that gathered with z itself (pivoted)."""

    def __init__(
        self, then: Product | None, order: Tensor | None = None, both: bool = False, bias: Tensor | None = None
    ):
        """`both`: the outputs are [z, then z]; `order` (m,) says where each stands there; `bias` (m,) comes last."""
        super().__init__()
        self.then = then
        self.register_buffer("order", order, persistent=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.call = then.call if then and not both and bias is None else _gathering(then, order, both, self.bias)

    def forward(self, z: Tensor) -> Tensor:
        """(…, r) → (…, m)."""
        return self.call(z)


def _gathering(then: Product | None, order: Tensor | None, both: bool, bias: Tensor | None) -> Call:
    product = None if then is None else then.call

    def call(z: Tensor) -> Tensor:
        y = z if product is None else product(z)
        if both:
            y = torch.cat([z, y], -1)
        if order is not None:
            y = y.index_select(-1, order)
        return y if bias is None else y + bias

    return call


class Running(nn.Module):
    """One site alone: its first product, and what follows."""

    def __init__(self, first: Product, rest: Rest | None):
        super().__init__()
        self.first, self.rest = first, rest
        one, two = first.call, rest and rest.call
        self.call = one if two is None else lambda x: two(one(x))

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_in) → (…, d_out)."""
        return self.call(x)


class Together:
    """One product for several sites that read one input: the first to be asked computes it, the others take theirs.

    What was computed is let go once all have taken it, and is never given twice: a site that is asked again computes
    anew, whatever happened to the input in between.
    """

    def __init__(self, first: Product, slices: list[slice]):
        self.first, self.slices = first, slices
        self._all = frozenset(range(len(slices)))
        self._input: Tensor | None = None
        self._output: Tensor | None = None
        self._waiting: set[int] = set()

    def take(self, x: Tensor, index: int) -> Tensor:
        """(…, r) the part of the product that belongs to a site."""
        if self._input is not x or index not in self._waiting:
            self._input, self._output = x, self.first.call(x)
            self._waiting = set(self._all)
        part = self.slices[index]
        z = self._output.narrow(-1, part.start, part.stop - part.start)
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
        take, two = together.take, rest and rest.call
        self.call = (lambda x: take(x, index)) if two is None else (lambda x: two(take(x, index)))

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_in) → (…, d_out)."""
        return self.call(x)
