"""Text the model writes itself: as likely as it finds it, the same again, written once, and stopped at any token."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

import lowrank_core as lr
from lowrank_core.calibration.texts import read_text
from lowrank_core.errors import NonFinite
from lowrank_core.jobs import finish
from lowrank_core.models.surgery import share_copy
from lowrank_core.study import compress, own_text
from lowrank_core.study.own_text import write
from lowrank_core.study.read import open_study


@pytest.fixture
def counted(monkeypatch) -> list:
    """What was written, each time it was."""
    ran = []

    def counting(loaded, *spec):
        ran.append(spec)
        return (yield from write(loaded, *spec))

    monkeypatch.setattr(own_text, "write", counting)
    return ran


def test_it_is_the_models_own_distribution(loaded) -> None:
    """The mean surprise at what was drawn is the entropy of what it was drawn from, without a cache."""
    ids, starts, size = finish(write(loaded, 400, 12, seed=1)), own_text._starts(loaded, 400, 1), len(loaded.tokenizer)
    assert ids.shape == (400, 12) and ids.min() >= 0 and ids.max() < size < loaded.model.config.vocab_size
    with torch.no_grad():
        logits = loaded.model(input_ids=torch.cat([starts[:, None], ids[:, :-1]], 1)).logits[..., :size]
    chances = logits.softmax(-1)
    surprise = -chances.gather(-1, ids[..., None]).log().mean()
    entropy = -(chances * chances.clamp_min(1e-30).log()).sum(-1).mean()
    assert float(surprise) == pytest.approx(float(entropy), rel=0.05)


def test_a_seed_says_it_all(loaded) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (finish(write(loaded, 6, 16, s)) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len({tuple(r) for r in first.tolist()}) == 6
    assert torch.equal(state, torch.random.get_rng_state())


def test_batches_make_whole_rows(loaded, monkeypatch) -> None:
    monkeypatch.setattr(own_text, "BATCH", 4)
    steps = list(write(loaded, 10, 8))
    assert len(steps) == 3 * 8 and steps[-1].done == steps[-1].total == 80
    assert [p.done for p in steps] == sorted(p.done for p in steps)
    monkeypatch.setattr(own_text, "TOKENS", 8)
    assert finish(write(loaded, 3, 8)).shape == (3, 8)


def test_bos_begins_where_there_is_one(loaded) -> None:
    tokenizer = loaded.tokenizer
    starts = own_text._starts(loaded, 50, 0)
    assert not set(starts.tolist()) & set(tokenizer.all_special_ids) and len(set(starts.tolist())) > 20
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.bos_token = tokenizer.convert_ids_to_tokens(7)
    assert own_text._starts(replace(loaded, tokenizer=tokenizer), 3, 0).tolist() == [7, 7, 7]


def test_a_broken_model_is_no_author(loaded) -> None:
    broken = share_copy(loaded.model)
    broken.model.norm.weight = torch.nn.Parameter(torch.full((32,), float("nan")), requires_grad=False)
    with pytest.raises(NonFinite, match="own text"):
        finish(write(type(loaded)(loaded.folder, broken, loaded.tokenizer, loaded.anatomy), 2, 4))


# --- in a study ------------------------------------------------------------------------------------------------------


def test_the_digest_needs_no_model(recipe_of, store) -> None:
    digests = {
        open_study(recipe_of(text=text, **values), store, dtype=dtype).source.text
        for text in ("self", "self+demo")
        for values, dtype in (
            ({}, None),
            ({"seed": 1}, None),
            ({"windows": 13}, None),
            ({"window": 25}, None),
            ({}, "bfloat16"),
        )
    }
    assert len(digests) == 10
    assert open_study(recipe_of(text="demo"), store).source.text == read_text("demo").digest


@pytest.mark.parametrize("text", ["self", "self+demo", "demo:3+self"])
def test_it_compresses_and_is_written_once(recipe_of, shared_store, loaded, counted, text: str) -> None:
    recipe = recipe_of(text=text, allocator="strs", seed=5)
    found = compress.run(recipe, shared_store, loaded=loaded)
    assert found.ratio_achieved >= 0.4 and counted in ([], [(12, 24, 5)])  # one text for all three
    assert compress.run(recipe, shared_store, loaded=loaded).plan == found.plan and len(counted) <= 1
    bench = compress.open_workbench(recipe, shared_store, loaded=loaded)
    own = shared_store.read(bench.source.own_text(12, 24)).arrays["ids"].tolist()
    rows = bench.windows.tolist()
    share = {"self": 12, "self+demo": 6, "demo:3+self": 3}[text]
    assert len(rows) == 12 and [r for r in rows if r in own] == own[:share]
    assert str(bench.study.setting(12)).startswith("self" if text == "self" else text[:4])


def test_a_closed_job_leaves_nothing_half_written(recipe_of, store, loaded, counted) -> None:
    recipe = recipe_of(text="self")
    job = compress.run.steps(recipe, store, loaded=loaded)
    assert next(job).stage == "own text" and next(job).done == 24
    job.close()
    assert not list(store.folder.glob("text/*"))
    finish(compress.open_workbench(recipe, store, loaded=loaded).calibrate())
    assert counted == [(12, 24, 0)] * 2


def test_a_finished_study_reads_no_text(recipe_of, store, loaded, counted) -> None:
    recipe = recipe_of(text="self")
    compress.run(recipe, store, loaded=loaded)
    for file in store.folder.glob("text/*"):
        file.unlink()
    compress.run(recipe, store, loaded=loaded)
    assert len(counted) == 1


def test_evaluation_is_on_text_held_out_from_calibration(recipe_of, store, loaded, counted) -> None:
    bench = compress.open_workbench(recipe_of(text="self"), store, loaded=loaded)
    finish(bench.calibrate())
    text = read_text("self")
    first = compress.evaluate(bench, text, windows=12)
    assert counted == [(12, 24, 0), (12, 24, 100_000)] and first.tokens == 12 * 23
    assert compress.evaluate(bench, text, windows=12) == first and len(counted) == 2
    assert bench.study.dense(text, 12) == first
    own = [store.read(bench.source.own_text(12, 24, held)).arrays["ids"] for held in (False, True)]
    assert not np.array_equal(*own)


def test_from_the_front_door(tiny, cache) -> None:
    recipe = lr.Recipe(model=str(tiny), text="self", windows=6, window=16, allocator="uniform")
    found = lr.run(recipe, device="cpu")
    assert found.ratio_achieved >= 0.3 and len(list((cache / "text").iterdir())) == 1
