"""A model run from any block on gives what the whole model gives."""

import pytest
import torch

from lowrank_core.models.blocks import BlockRunner
from lowrank_core.models.surgery import exchanged, factored, share_copy

IDS = torch.arange(60).view(3, 20) * 5 % 384


@pytest.fixture
def runner(loaded) -> BlockRunner:
    return BlockRunner(share_copy(loaded.model), loaded.anatomy.block_paths)


def whole(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


def entering(runner: BlockRunner) -> list[torch.Tensor]:
    hidden = [runner.embed(IDS)]
    for index in range(len(runner.blocks) - 1):
        hidden.append(runner.step(index, hidden[-1], IDS))
    return hidden


def test_hidden_states_are_the_models_own(runner, loaded) -> None:
    with torch.no_grad():
        own = share_copy(loaded.model)(input_ids=IDS, output_hidden_states=True).hidden_states
    for mine, its in zip(entering(runner), own, strict=False):
        assert torch.equal(mine, its)


@torch.no_grad()
def test_logits_from_any_block_are_the_whole_models(runner) -> None:
    expected = whole(runner.model)
    assert torch.equal(runner.logits(IDS), expected)
    for start, hidden in enumerate(entering(runner)):
        torch.testing.assert_close(runner.logits(IDS, start, hidden), expected, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_also_with_a_site_exchanged(runner, loaded) -> None:
    hidden = entering(runner)
    for site in loaded.anatomy.sites:
        linear = runner.model.get_submodule(site.path)
        g = torch.Generator().manual_seed(site.block)
        cut = factored(linear, torch.randn(site.d_out, 3, generator=g), torch.randn(3, site.d_in, generator=g))
        with exchanged(runner.model, {site.path: cut}):
            torch.testing.assert_close(
                runner.logits(IDS, site.block, hidden[site.block]), whole(runner.model), rtol=1e-5, atol=1e-5
            )


@torch.no_grad()
def test_the_model_is_left_as_it_was(runner) -> None:
    def state() -> list:
        return [(dict(b._forward_hooks), dict(b._forward_pre_hooks), set(vars(b))) for b in runner.blocks]

    expected, before = whole(runner.model), state()
    hidden = entering(runner)
    runner.logits(IDS, 2, hidden[2])
    with pytest.raises(RuntimeError):
        runner.logits(IDS, 2, hidden[2][:, :, :5])  # the wrong width: fails inside the block
    assert state() == before
    assert torch.equal(whole(runner.model), expected)


def test_a_callers_hooks_see_each_token_once(runner) -> None:
    """Hooks set after the runner was made count what is asked of it, and no pass of its own."""
    tokens = []
    runner.blocks[1].register_forward_pre_hook(lambda m, args: tokens.append(args[0].shape[:2].numel()))
    runner.step(1, runner.step(0, runner.embed(IDS), IDS), IDS)
    assert tokens == [IDS.numel()]
