"""Speeds are measured in turns, count what they read, and leave the models as they were."""

import time

import pytest
import torch

from lowrank_core.evaluation.memory import peak_beyond
from lowrank_core.evaluation.speed import Spread, in_turns, speed
from lowrank_core.linalg import balanced_svd
from lowrank_core.models.footprint import bytes_held, bytes_read
from lowrank_core.models.surgery import factored, joined, put, share_copy


@pytest.fixture(scope="module")
def half(loaded):
    """The tiny model with every site at rank 8."""
    model = share_copy(loaded.model)
    for site in loaded.anatomy.sites:
        linear = loaded.model.get_submodule(site.path)
        left, right, _, _ = balanced_svd(linear.weight.double())
        put(model, site.path, factored(linear, left[:, :8], right[:8]))
    return model


@pytest.fixture(scope="module")
def rows(loaded, half):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lowrank_core.evaluation.speed.COPIED", 2**22)
        return speed({"dense": loaded.model, "half": half}, batches=(1, 2), contexts=(8, 20, 60), repeats=3, tokens=4)


def test_a_row_for_every_model_batch_and_context_that_fits(rows) -> None:
    assert [(r.context, r.batch, r.model) for r in rows] == [
        (context, batch, model) for context in (8, 20, 60) for batch in (1, 2) for model in ("dense", "half")
    ]
    for row in rows:
        assert row.decode.low <= row.decode.median <= row.decode.high and row.decode.low > 0
        assert (row.prefill is None) == (row.batch > 1) == (row.prefill_times is None)
        assert row.bandwidth_share == pytest.approx(row.bytes_per_token * row.decode.median / row.batch / row.bandwidth)
        assert row.peak_bytes >= row.held_bytes and row.device == "cpu" and row.dtype == "float32"
        if row.model == "dense":
            assert row.decode_times == Spread(1, 1, 1) and row.limit == 1


def test_bytes_per_token(loaded, half, rows) -> None:
    config, sites = loaded.model.config, loaded.anatomy.sites
    norms = (2 * 3 + 1) * 32
    around = 384 * 32 + 32 + norms  # the tied head, one row of the table, the norms
    kept = 3 * 2 * config.num_key_value_heads * 8  # numbers of a position
    for row in rows:
        rest = 384 * 32 + row.batch * 32 + norms + row.batch * kept * (row.context + 2)
        weights = sum(s.parameters if row.model == "dense" else s.cost(8) for s in sites)
        assert row.bytes_per_token == 4 * (weights + rest)
    assert bytes_read(loaded.model) == 4 * (sum(s.parameters for s in sites) + around)
    dense, small = (next(r for r in rows if r.model == m and r.context == 20) for m in ("dense", "half"))
    assert small.limit == pytest.approx(dense.bytes_per_token / small.bytes_per_token)
    assert small.limit_share == pytest.approx(small.decode_times.median / small.limit)


def test_what_is_shared_is_held_once_and_read_as_often_as_it_is_used(loaded, half) -> None:
    assert bytes_held(loaded.model) == sum(t.nbytes for t in (*loaded.model.parameters(), *loaded.model.buffers()))
    model = share_copy(loaded.model)
    q, k = (loaded.model.get_submodule(f"model.layers.0.self_attn.{n}_proj") for n in "qk")
    right = torch.randn(4, 32).double()
    for name, module in zip("qk", joined([q, k], [torch.randn(32, 4), torch.randn(16, 4)], right), strict=True):
        put(model, f"model.layers.0.self_attn.{name}_proj", module)
    saved = q.weight.nbytes + k.weight.nbytes - 4 * (32 + 16) * 4
    assert bytes_held(loaded.model) - bytes_held(model) == saved - 4 * 4 * 32
    assert bytes_read(loaded.model) - bytes_read(model) == saved - 2 * 4 * 4 * 32


def test_turns_alternate_and_the_first_round_does_not_count() -> None:
    called = []
    seconds = in_turns({"a": lambda: called.append("a"), "b": lambda: (called.append("b"), time.sleep(0.002))}, 3)
    assert "".join(called) == "baabbaab"
    assert [len(s) for s in seconds.values()] == [3, 3] and min(seconds["b"]) >= 0.002 > max(seconds["a"])


def test_a_context_that_the_model_does_not_reach_is_left_out(loaded) -> None:
    assert speed({"dense": loaded.model}, contexts=(61, 2048), repeats=1, tokens=4) == []


def test_a_peak_is_seen_though_it_is_gone() -> None:
    found = peak_beyond(lambda: torch.ones(2**22), torch.device("cpu"))
    assert found == 0 or found > 0.9 * 2**24  # 0 where the system does not tell


def test_models_are_left_as_they_were(loaded, rows) -> None:
    ids = torch.arange(20)[None]
    whole = loaded.model(input_ids=ids, use_cache=False).logits
    assert whole.isfinite().all() and not whole.is_inference()
