"""Norms in few kernels answer as the model's own, over all families that have such; others are left alone."""

import pytest
import torch
from torch import nn

from lowrank_core.generation.norms import Norm, quick_norms, quicker
from lowrank_core.models.surgery import share_copy
from tests.generation.test_ready import IDS, random_model
from tests.zoo import KINDS

DTYPES = (torch.float32, torch.bfloat16)


def norms_of(model) -> list[nn.Module]:
    return [m for m in model.modules() if type(m).__name__.endswith("RMSNorm")]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("model_type", KINDS)
def test_every_rms_norm_is_taken_and_answers_the_same(model_type: str, dtype) -> None:
    model = random_model(model_type, dtype)
    second = share_copy(model)
    quick_norms(second)
    assert not norms_of(second) and sum(isinstance(m, Norm) for m in second.modules()) == len(norms_of(model))
    with torch.no_grad():
        found, wanted = (m(input_ids=IDS, use_cache=False).logits.double() for m in (second, model))
    assert (found - wanted).norm() <= (2e-5 if dtype == torch.float32 else 0.05) * wanted.norm()


class OddRMSNorm(nn.Module):
    """One that divides by the mean of |x|."""

    def __init__(self):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8), requires_grad=False), 1e-6

    def forward(self, x):
        return self.weight * x / (x.abs().mean(-1, keepdim=True) + self.eps)


def test_a_norm_of_another_kind_is_left_alone() -> None:
    odd = OddRMSNorm()
    model = nn.ModuleDict({"norm": odd})
    quick_norms(model)
    assert quicker(odd) is None and model["norm"] is odd


def test_a_weight_stays_where_it_is() -> None:
    """Nothing but the gains in float32 is added."""
    model = random_model("llama")
    for norm in norms_of(model):
        quick = quicker(norm)
        assert quick.weight is norm.weight and list(dict(quick.named_parameters())) == ["weight"]
        assert not quick.state_dict().keys() - {"weight"}
