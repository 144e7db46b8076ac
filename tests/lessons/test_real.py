"""Lessons 5 to 8: what they compute with numpy is what the pipeline measures, and their words say what it shows."""

import numpy as np
import pytest

from lowrank_core.allocation import ALLOCATORS
from lowrank_core.lessons import LESSONS, latents, nested, read_words, search, split, yours
from lowrank_core.lessons.bundled import bundled
from lowrank_core.lessons.first_block import first_block
from lowrank_core.methods import METHODS
from lowrank_core.methods.base import Statistics
from lowrank_core.settings import CALIBRATION_WINDOWS, CPU_WINDOW

NESTED, WHICH, CACHE, YOURS = LESSONS[4:]


def said(lesson, layers) -> str:
    words = read_words(lesson.key).filled(lesson.figures(layers, lesson.first(layers)))
    return " ".join([words.before, words.question, *words.options, words.after])


def test_the_first_block_reads_what_the_pipeline_measured():
    """The gram made with numpy has the channel norms of the shipped study, on the same tokens."""
    gram = first_block().gram("demo", CALIBRATION_WINDOWS * CPU_WINDOW)
    summary = bundled().study.summary("0.qkv")
    assert summary.tokens == CALIBRATION_WINDOWS * CPU_WINDOW
    np.testing.assert_allclose(np.sqrt(np.diag(gram)), summary.rms, rtol=1e-3)


@pytest.mark.parametrize(
    ("method", "settings"), [("nsvd-i", {"share": 0.9}), ("asvd-i", {"ridge": 0.3}), ("asvd-i", {}), ("svd", {})]
)
def test_the_cuts_of_lesson_5_are_the_methods_own(method, settings):
    import torch

    block = first_block()
    weight, gram, rank = block.weights["v"], block.gram("demo", 2048), 20
    ones = torch.ones(len(gram), dtype=torch.float64)
    made = METHODS[method].factorize(
        torch.from_numpy(weight), Statistics(torch.from_numpy(gram), ones, ones, 2048), METHODS[method].settle(settings)
    )
    left, right = made.cut(rank).left, made.cut(rank).right
    moment, unit = weight @ gram @ weight.T, np.trace(gram) / len(gram) * weight @ weight.T
    basis = {
        "nsvd-i": lambda: nested.nested(weight, moment, settings["share"], rank),
        "asvd-i": lambda: nested.top(moment + settings.get("ridge", 0) * unit, rank),
        "svd": lambda: nested.nested(weight, moment, 0, rank),
    }[method]()
    np.testing.assert_allclose(basis @ (basis.T @ weight), (left @ right).numpy(), atol=1e-8)
    delta = weight - (left @ right).numpy()
    expected = np.sqrt(np.trace(delta @ gram @ delta.T) / np.trace(moment))
    assert nested.lost(moment, basis) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("text", nested.AWAY)
def test_nesting_costs_at_home_and_the_ridge_errs_as_much_there(text):
    found = nested.errors(text)
    assert found.home[-1] == found.home.min() and found.home[0] == found.home.max()
    assert found.ridge[-1] == pytest.approx(found.away[-1])  # no ridge, no nesting: the same cut
    assert found.ridge[0] == pytest.approx(found.away[0], rel=2e-3)  # all ridge, all nested: plain SVD
    assert (found.away > found.home).all()


def test_the_words_on_nesting(layers):
    """It helps on one text and not on the other, and the ridge beats it on both: what the words say."""
    at = list(nested.SHARES).index(0.95)
    japanese, encyclopedia = nested.errors("instruct-ja-sample"), nested.errors("wikitext-sample")
    assert japanese.away[at] < japanese.away[-1] and encyclopedia.away[at] > encyclopedia.away[-1]
    assert japanese.ridge[at] < japanese.away[at] and encyclopedia.ridge[at] < encyclopedia.away[at]
    assert read_words(NESTED.key).right == 2
    for share in (*japanese.away[[at, -1]], japanese.ridge[at], *encyclopedia.away[[at, -1]], encyclopedia.ridge[at]):
        assert f"{100 * share:.1f} %" in said(NESTED, layers)
    assert "0.95" in said(NESTED, layers)


def test_the_split_is_of_measured_points(layers):
    shown = split.split(0.5)
    study = bundled().study
    for block, losses in zip((0, 1), list(shown.losses.values())[:2], strict=True):
        unit = next(u for u in bundled().units if (u.block, u.role) == (block, "down"))
        points = study.points(unit)
        keeps = shown.keeps if block == 0 else 1 - shown.keeps
        assert list(losses) == [points[round(k, 1)].delta_nll for k in keeps]
    both = shown.losses["both"]
    assert both.argmin() == shown.best and both[shown.best] < both[shown.at]
    assert shown.keeps[shown.best] > 0.5 and read_words(WHICH.key).right == 1
    for figure in (f"{both[4]:.3f}", f"{both.min():.3f}", f"{100 * shown.keeps[both.argmin()]:.0f} %"):
        assert figure in said(WHICH, layers)
    assert WHICH.control("two").told == shown.keeps[shown.best]


def test_the_search_ends_at_the_allocators_plan(layers):
    last = max((p for p in search.steps() if p.fits), key=lambda p: p.cut)
    problem, _ = search._problem()
    assert dict(last.ranks) == ALLOCATORS["strs"].allocate(problem)
    assert all(p.low < p.cut <= p.high for p in search.steps())
    for before, after in zip(search.steps(), search.steps()[1:], strict=False):
        assert (after.low, after.high) == ((before.cut, before.high) if before.fits else (before.low, before.cut - 1))
    end = search.replay(len(search.steps()) + 1)
    assert dict(end.ranks) == dict(bundled().plan("strs").ranks)
    measured = [bundled().judged(allocator).perplexity for allocator in ("strs", "uniform")]
    assert measured[0] < measured[1]
    for perplexity in measured:
        assert f"{perplexity:.2f}" in end.caption and f"{perplexity:.2f}" in said(WHICH, layers)


def test_keys_are_low_rank_before_the_rotation(layers):
    found = latents.cached()
    before, after, values = found.values()
    assert all(rows[0] == pytest.approx(1) and rows[-1] == 0 and (np.diff(rows) <= 0).all() for rows in found.values())
    assert before[32] < 0.1 * after[32] and read_words(CACHE.key).right == 1
    for share in (before[32], after[32], values[32]):
        assert f"{100 * share:.1f} %" in said(CACHE, layers)
    assert "of 128 numbers, 32 lose" in said(CACHE, layers)


def test_the_rotation_is_the_models_own():
    import torch
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    keys = np.random.default_rng(0).normal(size=(9, 2, 8))
    angle = np.arange(9)[:, None] * 10000.0 ** (-np.arange(0, 8, 2) / 8)
    cos, sin = (torch.from_numpy(np.tile(f(angle), 2))[None] for f in (np.cos, np.sin))
    turned, _ = apply_rotary_pos_emb(*[torch.from_numpy(keys).transpose(0, 1)[None]] * 2, cos, sin)
    np.testing.assert_allclose(latents.rotated(keys, 10000.0), turned[0].transpose(0, 1).numpy(), atol=1e-12)


def test_the_tail_is_the_error_of_the_best_basis():
    rows = np.random.default_rng(0).normal(size=(40, 6))
    sigma = np.linalg.svd(rows, compute_uv=False)
    np.testing.assert_allclose(latents.losses(rows)[2], np.linalg.norm(sigma[2:]) / np.linalg.norm(sigma))


def test_the_whole_covariance_loses_least_on_every_layer(layers):
    assert read_words(YOURS.key).right == 2
    for site in layers.sites:
        for keep in (0.2, 0.5, 0.8):
            cut = YOURS.picture(layers, site.path, keep)
            assert [s.method for s in cut.spectra] == list(yours.SHOWN)
            assert cut.error("asvd-i") <= min(cut.error("svd"), cut.error("asvd-0")) * (1 + 1e-6)
    cut = YOURS.picture(layers, layers.loudest(), YOURS.control(None).told)
    assert all(f"{100 * cut.error(m):.2g} %" in said(YOURS, layers) for m in yours.SHOWN)
    assert f"rank {cut.rank} of {cut.site.label}" in said(YOURS, layers)
