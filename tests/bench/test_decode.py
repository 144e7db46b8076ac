"""`bench decode` measures what it says, on real and on random models, and says it in one line each."""

import json

import pytest
import torch

from lowrank_core.bench import speeds
from lowrank_core.bench.decode import Race, decode, random_llama, random_module
from lowrank_core.cli.app import main
from lowrank_core.errors import BadValue
from lowrank_core.models.footprint import bytes_held
from lowrank_core.models.sites import anatomy
from lowrank_core.types import Unit, rank_at


@pytest.fixture(autouse=True)
def small_copy(monkeypatch):
    monkeypatch.setattr("lowrank_core.evaluation.speed.COPIED", 2**22)


@pytest.mark.parametrize("storage", ["factored", "pivoted"])
def test_a_race_of_a_random_shape(store, storage: str) -> None:
    race = Race("random:tiny", (0.5, 0.8), ("float32", "bfloat16"), storage, (1, 2), (12,), 2, 3)
    laps = decode(race, "cpu", store)
    said = [(lap.speed.dtype, lap.ratio, lap.speed.batch, lap.compressed) for lap in laps]
    assert said == [
        (d, r, b, c) for d in ("float32", "bfloat16") for r in (0.5, 0.8) for b in (1, 2) for c in (False, True)
    ]
    limits = {(lap.speed.dtype, lap.ratio): lap.speed.limit for lap in laps if lap.compressed and lap.speed.batch == 1}
    for dtype in ("float32", "bfloat16"):
        assert 1 < limits[dtype, 0.5] < limits[dtype, 0.8] < 5
    lines = speeds.lines(laps)
    assert len(lines) == 8 and {len(line) for line in lines} == {len(speeds.COLUMNS)}
    assert storage in speeds.caption(laps) and speeds.markdown(laps).count("\n") == 11
    json.dumps([lap.record() for lap in laps], allow_nan=False)


def test_a_race_of_a_real_model_leaves_it_whole(tiny, store) -> None:
    race = Race(str(tiny), (0.4,), (), "factored", (1,), (8,), 1, 2, recipe={"method": "svd", "allocator": "uniform"})
    dense, compressed = (lap.speed for lap in decode(race, "cpu", store))
    assert dense.limit == 1 < compressed.limit and compressed.dtype == "float32"
    plain = decode(Race(str(tiny), (0.4,), (), "factored", (1,), (8,), 1, 2, True), "cpu", store)
    assert plain[1].speed.held_bytes < plain[0].speed.held_bytes


@pytest.mark.parametrize("storage", ["factored", "pivoted"])
@torch.no_grad()
def test_random_models_have_the_sizes_that_the_ratio_means(storage: str) -> None:
    shape = speeds.shape("random:tiny")
    model = random_llama(shape, torch.float32, torch.device("cpu"))
    assert model(input_ids=torch.arange(5)[None]).logits.isfinite().all()
    site = anatomy(model).sites[0]
    module = random_module(site, 0.5, storage, torch.float32, torch.device("cpu"))
    assert module.rank == rank_at(Unit((site,), storage=storage), 0.5)
    assert module(torch.ones(1, site.d_in)).shape == (1, site.d_out)
    empty = random_llama(shape, torch.float32, torch.device("cpu"), empty=True)
    assert bytes_held(empty) < bytes_held(model) / 2


def test_on_the_command_line(capsys) -> None:
    arguments = ["bench", "decode", "random:tiny", "--ratio", "0.5", "--contexts", "8", "--batches", "1"]
    assert main([*arguments, "--tokens", "2", "--repeats", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "random:tiny" and [r["compressed"] for r in found["rows"]] == [False, True]
    row = found["rows"][1]
    assert {"decode", "decode_times", "prefill", "bytes_per_token", "bandwidth_share", "peak_bytes"} <= set(row)
    assert row["decode"]["low"] <= row["decode"]["median"] <= row["decode"]["high"]
    assert main([*arguments, "--repeats", "1", "--plain"]) == 0
    assert "Tokens per second of random:tiny" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["random:huge"], "There is no shape 'huge'"),
        (["random:tiny", "--dtypes", "int8"], "There is no dtype 'int8'"),
        (["random:tiny", "--storage", "merged"], "as large and as fast as the dense one"),
        (["random:tiny", "--ratio", "1.5"], "The ratio is 1.5"),
        (["nowhere"], "There is no model at 'nowhere'"),
    ],
)
def test_mistakes_are_said(arguments, says: str, capsys) -> None:
    assert main(["bench", "decode", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_shape_that_is_not_there() -> None:
    with pytest.raises(BadValue, match="tinyllama"):
        speeds.shape("random:")
