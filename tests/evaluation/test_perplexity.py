"""Perplexity by its definition, from logits alone."""

import math

import pytest
import torch
from torch import nn

from lowrank_core.calibration.texts import read_text
from lowrank_core.calibration.windows import cut_windows
from lowrank_core.errors import NonFinite
from lowrank_core.evaluation.perplexity import perplexity
from lowrank_core.models.surgery import share_copy
from lowrank_core.types import Setting

SETTING = Setting("tiny", 11, 24, "float32", "cpu")


@pytest.fixture(scope="module")
def windows(loaded, tiny_file) -> torch.Tensor:
    return cut_windows(loaded.tokenizer, read_text(tiny_file), 11, 24)


@torch.no_grad()
def test_perplexity_is_exp_of_the_mean_over_all_scored_tokens(loaded, windows) -> None:
    losses = []
    for window in windows:
        log_probabilities = loaded.model(input_ids=window[None]).logits[0].double().log_softmax(-1)
        losses += [-float(log_probabilities[t, window[t + 1]]) for t in range(23)]
    found = perplexity(loaded.model, windows, SETTING)
    assert found.tokens == len(losses) == 11 * 23
    assert found.nll == pytest.approx(sum(losses) / len(losses), rel=1e-6)
    assert found.perplexity == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-6)
    assert len(found.window_nll) == 11 and found.window_nll[3] == pytest.approx(sum(losses[69:92]) / 23, rel=1e-6)
    assert found.setting == SETTING


def test_a_model_that_knows_nothing_scores_the_vocabulary(loaded, windows) -> None:
    flat = share_copy(loaded.model)
    flat.lm_head = nn.Linear(32, 384, bias=False)
    nn.init.zeros_(flat.lm_head.weight)
    assert perplexity(flat, windows, SETTING).perplexity == pytest.approx(384, rel=1e-6)


def test_progress_counts_windows(loaded, windows) -> None:
    steps = list(perplexity.steps(loaded.model, windows, SETTING))
    assert [(p.done, p.total) for p in steps] == [(8, 11), (11, 11)]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_an_error(loaded, windows, wrong: float) -> None:
    broken = share_copy(loaded.model)
    broken.model.norm.weight = nn.Parameter(torch.full((32,), wrong), requires_grad=False)
    with pytest.raises(NonFinite):
        perplexity(broken, windows, SETTING)
