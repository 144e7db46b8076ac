"""The pass over a text: against plain hooks and plain autograd, resumed, and never done twice."""

import pytest
import torch
from torch import nn

from lowrank_core.calibration.collect import collect
from lowrank_core.calibration.texts import read_text
from lowrank_core.calibration.windows import cut_windows
from lowrank_core.errors import NonFinite
from lowrank_core.jobs import finish
from lowrank_core.models.surgery import share_copy
from lowrank_core.study import build
from lowrank_core.study.compress import open_workbench
from lowrank_core.study.recipe import Recipe
from lowrank_core.types import Unit


@pytest.fixture(scope="module")
def windows(loaded, tiny_file) -> torch.Tensor:
    return cut_windows(loaded.tokenizer, read_text(tiny_file), 11, 24)  # more than a batch, and not a multiple of one


def collected(loaded, windows, done=frozenset()) -> dict:
    found = {}
    finish(collect(loaded, windows, lambda k, moments, shown: found.__setitem__(k, (moments, shown)), done))
    return found


@torch.no_grad()
def brute_force(loaded, windows) -> dict[str, torch.Tensor]:
    """Site path → (tokens, d_in) its inputs in the plain model."""
    seen, model = {}, share_copy(loaded.model)
    for s in loaded.anatomy.sites:
        model.get_submodule(s.path).register_forward_pre_hook(
            lambda m, args, p=s.path: seen.setdefault(p, []).append(args[0].flatten(0, 1))
        )
    for window in windows:
        model(input_ids=window[None])
    return {p: torch.cat(x).double() for p, x in seen.items()}


def test_statistics_are_those_of_the_plain_model(loaded, windows) -> None:
    found, inputs = collected(loaded, windows), brute_force(loaded, windows)
    assert found.keys() == loaded.anatomy.groups.keys()
    for key, sites in loaded.anatomy.groups.items():
        statistics, shown = found[key][0].statistics(), found[key][1]
        for site in sites:
            x = inputs[site.path]
            torch.testing.assert_close(statistics.gram, x.T @ x / len(x), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(statistics.abs_mean, x.abs().mean(0), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(statistics.abs_max, x.abs().amax(0), rtol=1e-5, atol=1e-6)
            assert statistics.tokens == len(x) == windows.numel()
            torch.testing.assert_close(shown.values.double(), x[:24].abs(), rtol=1e-5, atol=1e-6)
    tokens = found["0.qkv"][1].tokens
    assert "".join(tokens) == loaded.tokenizer.decode(windows[0])


def test_only_missing_groups_are_collected_and_equal(loaded, windows) -> None:
    whole = collected(loaded, windows)
    missing = {"1.o", "2.qkv"}
    part = collected(loaded, windows, frozenset(whole) - missing)
    assert set(part) == missing
    assert all(torch.equal(part[k][0].gram, whole[k][0].gram) for k in missing)
    assert collected(loaded, windows, frozenset(whole)) == {}


def test_a_cancelled_pass_leaves_the_model_alone(loaded, windows) -> None:
    def state() -> list:
        return [(dict(m._forward_hooks), dict(m._forward_pre_hooks), set(vars(m))) for m in loaded.model.modules()]

    found, before = {}, state()
    job = collect(loaded, windows, lambda k, *rest: found.__setitem__(k, rest))
    next(job)
    job.close()
    assert not found
    assert state() == before


def test_progress_reaches_its_total(loaded, windows) -> None:
    steps = list(collect(loaded, windows, lambda *a: None))
    assert [p.done for p in steps] == list(range(1, len(steps) + 1)) and {p.total for p in steps} == {len(steps)}


def test_infinite_activations_name_their_group(loaded, windows) -> None:
    broken = share_copy(loaded.model)
    weight = broken.model.layers[1].mlp.gate_proj.weight.detach().clone()
    broken.model.layers[1].mlp.gate_proj.weight = nn.Parameter(weight.fill_(float("inf")), requires_grad=False)
    with pytest.raises(NonFinite, match=r"1\.down"):
        collected(type(loaded)(loaded.folder, broken, loaded.tokenizer, loaded.anatomy), windows)


# --- into the store ------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch) -> list[set[str]]:
    """The groups of each pass that ran."""
    ran = []

    def counting(loaded, windows, on_group, done=frozenset()):
        ran.append(set(loaded.anatomy.groups) - done)
        return (yield from collect(loaded, windows, on_group, done))

    monkeypatch.setattr(build, "collect", counting)
    return ran


def bench_of(tiny, tiny_file, store, loaded, **recipe):
    return open_workbench(
        Recipe(**{"model": str(tiny), "text": str(tiny_file), "windows": 10, "window": 24, **recipe}),
        store,
        loaded=loaded,
    )


def test_calibrating_twice_computes_once(tiny, tiny_file, store, loaded, counted) -> None:
    for _ in range(2):
        finish(bench_of(tiny, tiny_file, store, loaded).calibrate())
    assert counted == [set(loaded.anatomy.groups)]
    finish(bench_of(tiny, tiny_file, store, loaded, seed=1).calibrate())
    assert len(counted) == 2


def test_a_stopped_calibration_goes_on_where_it_was(tiny, tiny_file, store, loaded, counted) -> None:
    job = bench_of(tiny, tiny_file, store, loaded).calibrate()
    for _ in range(3):  # two batches of block 0, and one of block 1
        next(job)
    job.close()
    finish(bench_of(tiny, tiny_file, store, loaded).calibrate())
    assert counted == [set(loaded.anatomy.groups), {k for k in loaded.anatomy.groups if k[0] != "0"}]


def test_a_damaged_statistic_alone_is_computed_again(tiny, tiny_file, store, loaded, counted) -> None:
    bench = bench_of(tiny, tiny_file, store, loaded)
    finish(bench.calibrate())
    unit = Unit((next(s for s in bench.sites.values() if s.group == "1.down"),))
    before = bench.statistics(unit)
    path = store.folder / "gram" / f"{bench.source.gram('1.down').digest}.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.warns(UserWarning, match="computed again"):
        finish(bench.calibrate())
    assert counted[1:] == [{"1.down"}]
    assert torch.equal(bench.statistics(unit).gram, before.gram)
    assert before.mean.shape == (48,) and before.output_gram is None
