"""A product is the same in every layout, and what is made together is taken by each once."""

import pytest
import torch

from lowrank_core.modules.product import LAYOUTS, Product, layouts
from lowrank_core.modules.running import Member, Together

DTYPES = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@torch.inference_mode()
def test_every_layout_is_the_same_product(dtype, layout: str, bias: bool) -> None:
    if layout not in layouts("cpu", dtype):
        pytest.skip("this processor has no such layout in this dtype")
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(24, 17, generator=generator).to(dtype)
    added = torch.randn(24, generator=generator).to(dtype) if bias else None
    product = Product(weight, added, layout)
    bound = DTYPES[dtype] * 17
    for shape in ((17,), (1, 17), (1, 1, 17), (2, 3, 17), (300, 17), (0, 17)):
        x = torch.randn(shape, generator=generator).to(dtype)
        wanted = x.double() @ weight.double().T + (added.double() if bias else 0)
        found = product(x)
        assert found.dtype == dtype and found.shape == wanted.shape
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=bound)
    part = torch.randn(2, 3, 40, generator=generator).to(dtype)[..., 5:22]
    torch.testing.assert_close(product(part), product(part.contiguous()), rtol=0, atol=bound)
    kept = product.packed_bytes + sum(p.nbytes for p in product.parameters()) - (added.nbytes if bias else 0)
    assert kept == weight.nbytes


def test_rows_share_the_tensor() -> None:
    weight = torch.randn(5, 4)
    assert Product(weight).weight.data_ptr() == weight.data_ptr()


class Counting(Product):
    """A product that counts its calls."""

    def __init__(self, weight):
        super().__init__(weight)
        self.calls, call = 0, self.call

        def counted(x):
            self.calls += 1
            return call(x)

        self.call = counted


def three() -> tuple[Counting, list[Member]]:
    first = Counting(torch.randn(7, 4))
    together = Together(first, [slice(0, 2), slice(2, 6), slice(6, 7)])
    return first, [Member(together, i, None) for i in range(3)]


def test_sites_share_one_product_per_input_in_any_order() -> None:
    first, members = three()
    for order in ((0, 1, 2), (2, 0, 1)):
        x, calls = torch.randn(2, 4), first.calls
        whole = x @ first.weight.T
        for i in order:
            torch.testing.assert_close(members[i](x), whole[:, members[i].together.slices[i]])
        assert first.calls == calls + 1
    assert members[0].together._input is None is members[0].together._output  # nothing is held afterwards


def test_what_was_taken_is_computed_anew_when_asked_for_again() -> None:
    first, members = three()
    x = torch.ones(1, 4)
    before = members[1](x)
    x.mul_(2)  # changed in place since
    torch.testing.assert_close(members[1](x), 2 * before)
    assert first.calls == 2
    torch.testing.assert_close(members[0](torch.zeros(1, 4)), torch.zeros(1, 2))
