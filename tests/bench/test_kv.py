"""`bench kv`: what it counts are the tensors of real caches, and its losses are those of the compressed models."""

import pytest

from lowrank_core.bench.kv import kv, markdown
from lowrank_core.kv.methods import KV_METHODS
from lowrank_core.study.recipe import Recipe


@pytest.fixture
def recipe(tiny, tiny_file) -> Recipe:
    return Recipe(model=str(tiny), text=str(tiny_file), windows=4, window=32)


def test_rows_count_what_is_stored(recipe, loaded, store) -> None:
    text = recipe.text
    found = kv(recipe, [text], [0.5, 0.75], list(KV_METHODS), ["uniform"], 2, (16, 80), store, loaded=loaded)
    assert len(found.rows) == 2 * len(KV_METHODS) and found.dense_bytes_per_token == 3 * 32 * 4
    for row in found.rows:
        keep = 1 - row.kv_ratio_asked
        assert keep - 0.1 < row.share_of_dense <= keep + 0.005
        assert row.bytes_per_token == row.bytes_per_token_float32 == row.share_of_dense * found.dense_bytes_per_token
        assert row.bytes_per_token / 2 <= row.bytes_per_token_bfloat16 < row.bytes_per_token / 2 + 1  # positions
        assert set(row.rebuild_ms) == {16, 80} and all(ms > 0 for ms in row.rebuild_ms.values())
        assert row.parameters < loaded.parameters
    assert set(found.step_ms) == {16}  # the model reads 64 tokens
    for method in KV_METHODS:
        half, quarter = (r.predicted_nll for r in found.rows if r.method == method)
        assert half < quarter
    told = markdown(found)
    assert told.count("| joint | uniform | all |") == 1 and "What a cache stores per token" in told
