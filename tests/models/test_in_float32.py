"""A CPU that computes bfloat16 slowly takes its products in float32: the same answers, rounded once."""

from collections import Counter
from contextlib import nullcontext

import pytest
import torch

from lowrank_core.models import in_float32 as room
from lowrank_core.models.in_float32 import in_float32
from tests.generation.test_ready import IDS, random_model

PASSES = {"inference": torch.inference_mode, "no_grad": torch.no_grad, "gradient": nullcontext}


@pytest.fixture
def taken(monkeypatch) -> Counter:
    """How often each product was taken, on a machine that is said to be slow."""
    count = Counter()

    def counting(name, product):
        def take(*args):
            count[name] += 1
            return product(*args)

        return take

    monkeypatch.setattr(room, "slow_bfloat16", lambda: True)
    monkeypatch.setattr(room, "PRODUCTS", {f: counting(f, p) for f, p in room.PRODUCTS.items()})
    monkeypatch.setattr(room, "SLICE", 1000)  # several slices of a tiny weight, too
    return count


def run(model, how: str):
    """The logits, or the gradient of a sum of their squares by the embedded tokens."""
    with PASSES[how]():
        entering = model.get_input_embeddings()(IDS).detach().requires_grad_(how == "gradient")
        logits = model(inputs_embeds=entering, use_cache=False).logits.float()
        return torch.autograd.grad(logits.square().sum(), entering)[0] if how == "gradient" else logits


@pytest.mark.parametrize("how", PASSES)
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "opt"])
def test_it_answers_as_bfloat16_does_and_no_worse(taken, model_type: str, how: str) -> None:
    model = random_model(model_type, torch.bfloat16)
    exact, plain = run(random_model(model_type), how), run(model, how)
    assert not taken
    with in_float32(model):
        wide = run(model, how)
    assert sum(taken.values()) > len(list(model.modules())) / 4

    def apart(found) -> float:
        return float((found.double() - exact).norm() / exact.norm())

    assert wide.dtype == plain.dtype and apart(wide) < 1.3 * apart(plain) < 0.3


def test_only_where_it_is_faster(taken, monkeypatch) -> None:
    model, one = random_model("llama", torch.bfloat16), torch.zeros(1, 1, dtype=torch.long)
    with in_float32(model), torch.no_grad():
        model(input_ids=one)
    assert not taken, "one row has nothing to gain"
    assert isinstance(in_float32(random_model("llama")), nullcontext)
    monkeypatch.setattr(room, "slow_bfloat16", lambda: False)
    assert isinstance(in_float32(model), nullcontext)
