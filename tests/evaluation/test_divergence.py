"""Token by token divergence against the window's mean and the models' own logits."""

import pytest
import torch

from lowrank_core.evaluation.divergence import token_divergence
from lowrank_core.evaluation.perplexity import window_divergence
from lowrank_core.models.surgery import share_copy


@pytest.fixture
def other(loaded):
    """The tiny model with one layer turned around."""
    model = share_copy(loaded.model)
    layer = model.get_submodule(loaded.anatomy.sites[0].path)
    layer.weight = torch.nn.Parameter(-layer.weight, requires_grad=False)
    return model


def test_the_mean_over_a_window_is_the_windows_divergence(loaded, other):
    ids = torch.randint(0, 300, (1, 24), generator=torch.Generator().manual_seed(0))
    found = token_divergence(loaded.model, other, ids[:, :1], ids[0, 1:].tolist())
    with torch.no_grad():
        kl, agreement = window_divergence(*(m(input_ids=ids).logits for m in (loaded.model, other)))
    assert len(found) == 23 and [d.token for d in found] == ids[0, 1:].tolist()
    assert sum(d.kl for d in found) / 23 == pytest.approx(kl.item(), rel=1e-5) and kl.item() > 0.01
    assert sum(d.first[0][0] == d.second[0][0] for d in found) / 23 == pytest.approx(agreement.item())


def test_a_model_does_not_differ_from_itself(loaded):
    found = token_divergence(loaded.model, loaded.model, torch.tensor([[5, 6]]), [7, 8, 9])
    assert all(d.kl == 0 and d.first == d.second and len(d.first) == 3 for d in found)
    assert all(d.first[0][1] >= d.first[1][1] >= d.first[2][1] > 0 for d in found)


def test_an_empty_reply_has_none(loaded):
    assert token_divergence(loaded.model, loaded.model, torch.tensor([[5, 6]]), []) == ()
