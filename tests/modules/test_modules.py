"""What stands where a linear stood computes what the product of the factors would, in every dtype."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lowrank_core.errors import NonFinite
from lowrank_core.models.surgery import factored, joined, pivoted, share_copy
from lowrank_core.modules import LOW_RANK, FactoredLinear, JointLinear, PivotedLinear
from lowrank_core.modules.pivoted import packed, unpacked

SHAPES = [(6, 9, 1), (9, 6, 1), (9, 6, 6), (6, 9, 6), (9, 9, 9), (40, 25, 7), (25, 40, 19), (1, 5, 1)]
BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear_of(m: int, n: int, bias: bool = True, dtype=torch.float64) -> nn.Linear:
    linear = nn.Linear(n, m, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(drawn(m, n, seed=7))
        if bias:
            linear.bias.copy_(drawn(1, m, seed=8)[0])
    return linear.to(dtype)


def factors(m: int, n: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Balanced factors of a random matrix of this rank."""
    u, s, v = torch.linalg.svd(drawn(m, n), full_matrices=False)
    return u[:, :rank] * s[:rank].sqrt(), s[:rank].sqrt()[:, None] * v[:rank]


def standing_in(kind: str, linear: nn.Linear, left, right, bias=None) -> nn.Module:
    """One module of the kind asked for; a joint one is the second of its group."""
    if kind == "joint":
        return joined([nn.Linear(right.shape[1], 3).to(linear.weight), linear], [drawn(3, len(right)), left], right,
                      [None, bias])[1]
    return {"factored": factored, "pivoted": pivoted}[kind](linear, left, right, bias)


def size(x: torch.Tensor) -> float:
    return x.double().norm().item()


KINDS = ("factored", "pivoted", "joint")


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_the_product(kind: str, shape, bias: bool, dtype) -> None:
    m, n, rank = shape
    linear, (left, right) = linear_of(m, n, bias, dtype), factors(m, n, rank)
    module = standing_in(kind, linear, left, right)
    assert isinstance(module, LOW_RANK)
    assert (module.in_features, module.out_features, module.rank) == (n, m, rank)
    assert {p.dtype for p in module.parameters()} == {dtype} and not any(p.requires_grad for p in module.parameters())
    x = drawn(2, 3, n, seed=3).to(dtype)
    wanted = x.double() @ (left @ right).T + (linear.bias.double() if bias else 0)
    for found in (module(x), nn.functional.linear(x, module.merged(), module.bias)):
        assert found.dtype == dtype and found.shape == wanted.shape
        assert size(found.double() - wanted) <= BOUNDS[dtype] * size(wanted)
    assert module.merged().dtype == dtype and module.product().dtype == torch.float64
    assert size(module.product() - left @ right) <= BOUNDS[dtype] * size(left @ right)
    assert str(n) in repr(module) and str(m) in repr(module)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bias_that_the_linear_did_not_have(kind: str) -> None:
    linear, (left, right) = linear_of(9, 6, bias=False, dtype=torch.float32), factors(9, 6, 2)
    module = standing_in(kind, linear, left, right, drawn(1, 9)[0])
    assert module.bias.dtype == torch.float32 and "bias" in module.state_dict()
    torch.testing.assert_close(module(torch.zeros(1, 6)), module.bias[None])


@settings(max_examples=60)
@given(st.integers(1, 20), st.integers(1, 20), st.booleans(), st.data())
def test_pivoted_is_factored(m: int, n: int, bias: bool, data) -> None:
    rank = data.draw(st.integers(1, min(m, n)))
    linear, left, right = linear_of(m, n, bias), drawn(m, rank, seed=m), drawn(rank, n, seed=n)
    plain, other = factored(linear, left, right), pivoted(linear, left, right)
    x = drawn(4, n, seed=5)
    torch.testing.assert_close(other(x), plain(x), rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(other.product(), plain.product(), rtol=1e-10, atol=1e-9)
    saved = rank * rank - -(-m // 8)
    assert numbers(plain) - numbers(other) == saved, "r² fewer numbers, and one bit per output"


def numbers(module: nn.Module) -> int:
    return sum(t.numel() for t in module.state_dict().values())


def test_what_is_stored() -> None:
    linears, (left, right) = [linear_of(m, 6, False) for m in (9, 4, 4)], factors(17, 6, 5)
    group = joined(linears, left.split([9, 4, 4]), right)
    assert [type(m) for m in group] == [FactoredLinear, JointLinear, JointLinear]
    assert [set(m.state_dict()) for m in group] == [{"weight", "weight_u"}, {"weight"}, {"weight"}]
    assert sum(map(numbers, group)) == 5 * (6 + 9 + 4 + 4)
    assert nn.ModuleList(group).state_dict().keys() == {"0.weight", "0.weight_u", "1.weight", "2.weight"}
    found = torch.cat([m.product() for m in group])
    torch.testing.assert_close(found, left @ right)
    module = pivoted(linears[0], left[:9, :5], right)
    assert {k: tuple(t.shape) for k, t in module.state_dict().items()} == PivotedLinear.shapes(6, 9, 5)
    assert module.pivots.dtype == torch.uint8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(96, 64, 20), (64, 96, 20), (96, 96, 60)], ids=str)
def test_rounding_costs_a_small_multiple_of_balanced_factors(shape, dtype) -> None:
    m, n, rank = shape
    u, _, v = torch.linalg.svd(drawn(m, n), full_matrices=False)
    sigma = torch.logspace(0, -1.5, rank, dtype=torch.float64).sqrt()  # a spectrum that falls, as of trained weights
    left, right = u[:, :rank] * sigma, sigma[:, None] * v[:rank]
    linear, exact = linear_of(m, n, False, dtype), left @ right
    plain, other = (size(make(linear, left, right).product() - exact) for make in (factored, pivoted))
    assert 1 < other / plain < 4
    assert other < (2e-2 if dtype == torch.bfloat16 else 2.5e-3) * size(exact)


class TestTheOrder:
    """It follows the pivots, however those came to be."""

    def module(self) -> PivotedLinear:
        return pivoted(linear_of(9, 6, True, torch.float32), *factors(9, 6, 3))

    def test_loading_in_place(self) -> None:
        module, other = self.module(), PivotedLinear.empty(6, 9, 3, True)
        other.pivots.copy_(packed(torch.arange(3), 9))
        assert other.order.tolist() == list(range(9))
        other.load_state_dict(module.state_dict())
        x = torch.randn(2, 6)
        assert torch.equal(other(x), module(x))
        assert torch.equal(other.order, module.order)

    def test_meta_to_real(self) -> None:
        module = self.module()
        with torch.device("meta"):
            other = PivotedLinear.empty(6, 9, 3, True)
        assert other(torch.randn(2, 6, device="meta")).shape == (2, 9) and other.order.is_meta
        other.load_state_dict(module.state_dict(), assign=True)
        assert not other.order.is_meta
        x = torch.randn(2, 6)
        assert torch.equal(other(x), module(x))
        other = PivotedLinear.empty(6, 9, 3, True, device="meta").to_empty(device="cpu")
        other.load_state_dict(module.state_dict())
        assert torch.equal(other(x), module(x))

    def test_casting_keeps_the_pivots(self) -> None:
        module = self.module()
        x = torch.randn(2, 6)
        assert torch.allclose(module.bfloat16()(x.bfloat16()).float(), self.module()(x), rtol=0.1, atol=0.1)
        assert module.pivots.dtype == torch.uint8 and module.weight.dtype == torch.bfloat16

    def test_copies(self, tmp_path) -> None:
        module = self.module()
        module.order  # noqa: B018
        x = torch.randn(2, 6)
        for other in (copy.deepcopy(module), share_copy(module)):
            assert torch.equal(other(x), module(x))
        assert share_copy(module).pivots is module.pivots


class TestCopiesOfJointLayers:
    def group(self) -> nn.ModuleList:
        linears = [linear_of(m, 6, True, torch.float32) for m in (9, 4)]
        return nn.ModuleList(joined(linears, factors(13, 6, 5)[0].split([9, 4]), factors(13, 6, 5)[1]))

    @pytest.mark.parametrize("copied", [copy.deepcopy, share_copy])
    @pytest.mark.parametrize("turned", [False, True])
    def test_they_point_at_the_copied_source(self, copied, turned: bool) -> None:
        group = self.group()
        if turned:
            group = nn.ModuleList(reversed(group))
        other = copied(group)
        source, joint = sorted(other, key=lambda m: isinstance(m, JointLinear))
        assert joint.source is source and source not in list(group)
        shared = {id(p) for p in group.parameters()} & {id(p) for p in other.parameters()}
        assert len(shared) == (5 if copied is share_copy else 0)

    def test_moving_the_model_moves_the_source(self) -> None:
        group = self.group().bfloat16()
        assert group[1](torch.randn(2, 6).bfloat16()).dtype == torch.bfloat16

    def test_observers_of_the_source_see_its_own_input_only(self) -> None:
        group, seen = self.group(), []
        group[0].register_forward_hook(lambda *a: seen.append(1))
        group[1](torch.randn(2, 6))
        assert not seen

    def test_its_size_is_its_own(self) -> None:
        group = self.group()
        assert sum(p.numel() for p in group.parameters()) == 5 * (6 + 9 + 4) + 9 + 4
        assert len(list(group[1].modules())) == 1


def test_empty_modules_have_their_shapes() -> None:
    make = {"device": "meta", "dtype": torch.bfloat16}
    module = PivotedLinear.empty(6, 9, 4, True, **make)
    assert module.weight.shape == (4, 6) and module.weight_u.shape == (5, 4) and module.pivots.shape == (2,)
    assert module.pivots.dtype == torch.uint8 and module.bias.shape == (9,) and module.weight.is_meta
    module = JointLinear.empty(9, FactoredLinear.empty(6, 5, 4, True, **make), False, **make)
    assert module.weight.shape == (9, 4) and module.bias is None and (module.in_features, module.rank) == (6, 4)


def test_what_float16_cannot_hold_is_named() -> None:
    left, right = factors(9, 6, 2)
    with pytest.raises(NonFinite):
        pivoted(linear_of(9, 6, False, torch.float16), left * 1e6, right)


@pytest.mark.parametrize("rows", [[0, 1], [0, 1, 2, 3], [0, 1, 9], []], ids=str)
def test_unsound_pivots_are_seen(rows) -> None:
    module = pivoted(linear_of(9, 6), *factors(9, 6, 3))
    assert module.sound()
    module.pivots = packed(torch.tensor(rows, dtype=torch.long), 16)
    assert not module.sound()
    module.pivots = module.pivots.float()
    assert not module.sound()


@pytest.mark.parametrize("d_out", [1, 7, 8, 9, 64, 100])
def test_bits_say_which_rows_are_kept(d_out) -> None:
    rows = torch.randperm(d_out, generator=torch.Generator().manual_seed(d_out))[: d_out // 2 + 1].sort().values
    bits = packed(rows, d_out)
    assert bits.shape == (-(-d_out // 8),) and torch.equal(unpacked(bits)[:d_out].nonzero()[:, 0], rows)
    assert not unpacked(bits)[d_out:].any()
