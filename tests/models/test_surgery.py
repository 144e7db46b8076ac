"""Second models cost no weights, and what was exchanged is put back."""

import pytest
import torch
from torch import nn

from lowrank_core.models.surgery import exchanged, factored, put, share_copy
from lowrank_core.modules import FactoredLinear

IDS = torch.arange(24).view(2, 12)
PATH = "model.layers.1.mlp.up_proj"


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_a_second_model_shares_every_tensor(loaded) -> None:
    second = share_copy(loaded.model)
    ours, theirs = dict(loaded.model.named_parameters()), dict(second.named_parameters())
    assert ours.keys() == theirs.keys() and all(ours[k].data_ptr() == theirs[k].data_ptr() for k in ours)
    ours, theirs = dict(loaded.model.named_buffers()), dict(second.named_buffers())
    assert ours.keys() == theirs.keys() and all(ours[k].data_ptr() == theirs[k].data_ptr() for k in ours)
    assert second.lm_head.weight is second.model.embed_tokens.weight
    assert not set(map(id, loaded.model.modules())) & set(map(id, second.modules()))
    assert torch.equal(logits(second), logits(loaded.model))


def test_modules_and_hooks_of_a_second_model_are_its_own(loaded) -> None:
    second, before = share_copy(loaded.model), logits(loaded.model)
    put(second, PATH, nn.Linear(32, 48))
    second.model.layers[0].register_forward_hook(lambda *a: (_ for _ in ()).throw(AssertionError))
    assert torch.equal(logits(loaded.model), before)


def test_exchanged_modules_are_put_back(loaded) -> None:
    model, before = share_copy(loaded.model), logits(loaded.model)
    old = model.get_submodule(PATH)
    with exchanged(model, {PATH: nn.Linear(32, 48)}) as changed:
        assert changed is model and model.get_submodule(PATH) is not old
        assert not torch.equal(logits(model), before)
    assert model.get_submodule(PATH) is old and torch.equal(logits(model), before)
    with pytest.raises(KeyboardInterrupt), exchanged(model, {PATH: nn.Linear(32, 48)}):
        raise KeyboardInterrupt
    assert model.get_submodule(PATH) is old


def test_an_exchange_that_fails_half_way_is_undone(loaded) -> None:
    model = share_copy(loaded.model)
    old = model.get_submodule(PATH)
    with (
        pytest.raises(AttributeError),
        exchanged(model, {PATH: nn.Linear(32, 48), "model.layers.1.nobody": nn.Linear(1, 1)}),
    ):
        pass
    assert model.get_submodule(PATH) is old


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_factored_linear_stands_for_the_linear(dtype, bias: bool) -> None:
    linear = nn.Linear(9, 5, bias=bias).to(dtype)
    left, right = torch.randn(5, 3, dtype=torch.float64), torch.randn(3, 9, dtype=torch.float64)
    module = factored(linear, left, right)
    assert (module.in_features, module.out_features, module.rank) == (9, 5, 3)
    assert {p.dtype for p in module.parameters()} == {dtype} and not any(p.requires_grad for p in module.parameters())
    assert set(module.state_dict()) == {"weight", "weight_u"} | ({"bias"} if bias else set())
    x = torch.randn(2, 4, 9, dtype=dtype)
    torch.testing.assert_close(
        module(x).float(),
        nn.functional.linear(x.float(), (left @ right).float(), linear.bias.float() if bias else None),
        rtol=0.05 if dtype == torch.bfloat16 else 1e-5,
        atol=0.1 if dtype == torch.bfloat16 else 1e-5,
    )
    torch.testing.assert_close(
        module.merged().double(), module.weight_u.double() @ module.weight.double(), rtol=0.01, atol=0.05
    )


def test_an_empty_factored_linear_has_its_shapes() -> None:
    module = FactoredLinear.empty(9, 5, 3, bias=True, device="meta", dtype=torch.bfloat16)
    assert module.weight.shape == (3, 9) and module.weight_u.shape == (5, 3) and module.bias.shape == (5,)
    assert module.weight.is_meta and module.weight.dtype == torch.bfloat16
