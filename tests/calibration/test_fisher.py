"""Gradient moments against autograd's own, and two halves against one pass."""

import pytest
import torch

from lowrank_core.calibration import backward
from lowrank_core.calibration.fisher import OutputMoments, collect_fisher
from lowrank_core.calibration.texts import read_text
from lowrank_core.calibration.windows import cut_windows
from lowrank_core.errors import NonFinite
from lowrank_core.jobs import finish
from lowrank_core.models.surgery import share_copy
from lowrank_core.types import Site

SITE = Site("blocks.1.q", 1, "q", "1.q", 5, 7)
FIELDS = ("gram", "rows", "columns")


@pytest.fixture(scope="module")
def windows(loaded, tiny_file) -> torch.Tensor:
    return cut_windows(loaded.tokenizer, read_text(tiny_file), 6, 24)


def collected(loaded, windows, **given) -> dict[str, dict[str, torch.Tensor]]:
    found = {}
    finish(collect_fisher(loaded, windows, lambda site, m: found.update({site.path: m.means()}), **given))
    return found


def drawn(windows: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(windows, 9, 7, generator=g), torch.randn(windows, 9, 5, generator=g)


def moments(*parts) -> OutputMoments:
    found = OutputMoments.zeros(SITE, torch.device("cpu"))
    for x, g in parts:
        found.add(x, g, SITE.path)
    return found


def same(a: OutputMoments, b: OutputMoments) -> None:
    assert (a.tokens, a.windows) == (b.tokens, b.windows)
    for name in FIELDS:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-12, atol=1e-12)


def test_moments_by_definition() -> None:
    x, g = drawn()
    found = moments((x, g)).means()
    flat = g.flatten(0, 1).double()
    torch.testing.assert_close(found["output_gram"], flat.T @ flat / len(flat))
    squares = torch.stack([(b.T @ a).square() for a, b in zip(x, g, strict=True)]).double().mean(0)  # (m, n)
    torch.testing.assert_close(found["row_fisher"], squares.sum(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["column_fisher"], squares.mean(0), rtol=1e-5, atol=1e-6)


def test_merged_halves_equal_one_pass() -> None:
    x, g = drawn()
    for cut in (1, 3, 5):
        same(moments((x[:cut], g[:cut])).merge(moments((x[cut:], g[cut:]))), moments((x, g)))
        same(moments((x[:cut], g[:cut]), (x[cut:], g[cut:])), moments((x, g)))


def test_gradients_that_are_no_numbers_are_named() -> None:
    x, g = drawn()
    g[2, 3, 1] = float("nan")
    with pytest.raises(NonFinite, match="blocks.1.q"):
        moments((x, g))


def test_moments_are_those_of_autograd(loaded, windows) -> None:
    """The same sampled labels; weight gradients by autograd itself, one window at a time."""
    found = collected(loaded, windows, seed=3)
    generator, labels = torch.Generator().manual_seed(3), []
    for batch in windows.split(backward.BATCH):
        with torch.no_grad():
            probabilities = loaded.model(input_ids=batch, use_cache=False).logits.flatten(0, 1).softmax(-1)
        labels.append(torch.multinomial(probabilities, 1, generator=generator).view(len(batch), -1))
    labels, model = torch.cat(labels), share_copy(loaded.model)
    paths = ["model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj", "model.layers.2.self_attn.o_proj"]
    weights = []
    for path in paths:
        linear = model.get_submodule(path)
        linear.weight = torch.nn.Parameter(linear.weight.detach().clone())
        weights.append(linear.weight)
    outputs = {}
    for path in paths:
        model.get_submodule(path).register_forward_hook(lambda m, a, out, p=path: outputs.__setitem__(p, out))
    squares = {p: torch.zeros_like(w, dtype=torch.float64) for p, w in zip(paths, weights, strict=True)}
    grams = {p: torch.zeros(len(w), len(w), dtype=torch.float64) for p, w in zip(paths, weights, strict=True)}
    for window, label in zip(windows, labels, strict=True):
        loss = -model(input_ids=window[None], use_cache=False).logits[0].log_softmax(-1)[range(len(label)), label].sum()
        gradients = torch.autograd.grad(loss, [*weights, *(outputs[p] for p in paths)])
        for path, of_weight, of_output in zip(paths, gradients[:3], gradients[3:], strict=True):
            squares[path] += of_weight.double().square()
            grams[path] += of_output[0].double().T @ of_output[0].double()
    for path in paths:
        mean = squares[path] / len(windows)
        torch.testing.assert_close(found[path]["row_fisher"], mean.sum(1), rtol=1e-3, atol=1e-9)
        torch.testing.assert_close(found[path]["column_fisher"], mean.mean(0), rtol=1e-3, atol=1e-9)
        torch.testing.assert_close(found[path]["output_gram"], grams[path] / windows.numel(), rtol=1e-3, atol=1e-7)


def test_states_on_disk_give_the_same(loaded, windows, cache, monkeypatch) -> None:
    once = collected(loaded, windows)
    monkeypatch.setattr(backward, "STATES_HELD", 8 * 24 * 32 * 4)  # of two batches
    steps, found, disk = [], {}, []
    job = collect_fisher(loaded, windows, lambda site, m: found.update({site.path: m.means()}))
    finish(job, lambda p: (steps.append(p), disk.append(len(list(cache.glob(".states-*/*"))))))
    assert steps[-1].done == steps[-1].total and set(found) == set(once)
    assert len(steps) == steps[-1].total + len(once)  # one more for every site that is begun
    assert max(disk) > 0 and not list(cache.glob(".states-*"))
    for path, means in once.items():
        for name, value in means.items():
            assert torch.equal(found[path][name], value)


def test_one_block_s_sums_are_alive_at_a_time(loaded, windows) -> None:
    alive, order = [], []

    def start(site):
        alive.append(site)
        return OutputMoments.zeros(site, torch.device("cpu"))

    def keep(site, moments):
        assert {s.block for s in alive} == {site.block}
        order.append(site.block)
        if sum(s.block == site.block for s in loaded.anatomy.sites) == order.count(site.block):
            alive.clear()

    finish(backward.go_backward(loaded, windows, loaded.anatomy.sites, start, keep))
    assert order == sorted(order, reverse=True) and len(order) == len(loaded.anatomy.sites)


def test_done_sites_are_left_out_and_hooks_undone(loaded, windows) -> None:
    paths = [s.path for s in loaded.anatomy.sites]
    assert set(collected(loaded, windows, done=frozenset(paths[1:]))) == {paths[0]}
    job = collect_fisher(loaded, windows, lambda site, m: None)
    next(job)
    job.close()
    assert not any(m._forward_hooks for m in loaded.model.modules())
    assert all(p.grad is None and not p.requires_grad for p in loaded.model.parameters())


def test_gradients_follow_their_seed(loaded, windows) -> None:
    first, again, other = (collected(loaded, windows, seed=s) for s in (0, 0, 1))
    assert all(torch.equal(first[p]["output_gram"], again[p]["output_gram"]) for p in first)
    assert any(not torch.equal(first[p]["output_gram"], other[p]["output_gram"]) for p in first)


class Both:
    """Gradients of both kinds, as they come."""

    def __init__(self):
        self.drawn, self.own = [], []

    def add(self, x, g, where):
        self.drawn.append(g)

    def drift(self, x, g, where):
        self.own.append(g)


def test_the_text_s_own_tokens_give_autograd_s_gradients_beside_the_sampled_ones(loaded, windows) -> None:
    """Sampled on the first 3 windows, the text's own on 5: not multiples of a batch."""
    site, found = loaded.anatomy.sites[0], {}
    job = backward.go_backward(
        loaded, windows, [site], lambda s: Both(), lambda s, sums: found.update({s.path: sums}), sampled=3, given=5
    )
    finish(job)
    seen = found[site.path]
    assert torch.cat(seen.drawn).shape[0] == 3 and torch.cat(seen.own).shape[0] == 5
    model, kept = share_copy(loaded.model), []
    handle = model.get_submodule(site.path).register_forward_hook(lambda m, i, o: kept.append(o))
    for p in model.get_submodule(site.path).parameters():
        p.requires_grad_()
    with torch.enable_grad():
        loss = model(input_ids=windows[:5], labels=windows[:5]).loss * 5  # a mean over all windows' tokens
        (wanted,) = torch.autograd.grad(loss, kept)
    handle.remove()
    for p in model.get_submodule(site.path).parameters():
        p.requires_grad_(False)
    torch.testing.assert_close(torch.cat(seen.own), wanted, rtol=1e-4, atol=1e-7)
