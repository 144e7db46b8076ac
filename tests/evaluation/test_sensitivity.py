"""A point of the table equals the difference of two whole models, however much of the model was skipped for it."""

import pytest
import torch

from lowrank_core.calibration.texts import read_text
from lowrank_core.calibration.windows import cut_windows
from lowrank_core.evaluation.perplexity import perplexity
from lowrank_core.evaluation.sensitivity import Probe
from lowrank_core.jobs import finish
from lowrank_core.linalg import balanced_svd
from lowrank_core.models.loading import LoadedModel, load_model
from lowrank_core.models.sites import weight_of
from lowrank_core.models.surgery import exchanged, modules_of, share_copy
from lowrank_core.types import Setting, Unit
from tests.zoo import KINDS, tiny_of

SETTING = Setting("tiny", 11, 24, "float32", "cpu")
RANKS = (2, 5, 9)


@pytest.fixture(scope="module")
def windows(loaded, tiny_file) -> torch.Tensor:
    return cut_windows(loaded.tokenizer, read_text(tiny_file), 11, 24)


@pytest.fixture(scope="module")
def probe(loaded, windows) -> Probe:
    made = Probe(loaded, windows)
    finish(made.prepare())
    return made


def candidates(loaded: LoadedModel, unit: Unit, ranks=RANKS) -> list[dict]:
    """The modules of a unit's plain SVD at these ranks."""
    weight = torch.cat([weight_of(loaded.model.get_submodule(s.path)) for s in unit.sites])
    left, right, _, _ = balanced_svd(weight)
    return [modules_of(loaded.model, unit, left[:, :r], right[:r]) for r in ranks]


def whole(loaded: LoadedModel, windows: torch.Tensor, modules: dict | None = None) -> torch.Tensor:
    """(N,) nats per token of each window, of the whole model with these modules in place."""
    with exchanged(share_copy(loaded.model), modules or {}) as model:
        return torch.tensor(perplexity(model, windows, SETTING).window_nll, dtype=torch.float64)


def differences(loaded: LoadedModel, windows: torch.Tensor, unit: Unit, ranks=RANKS) -> torch.Tensor:
    """(K, N) by the definition of a point."""
    dense = whole(loaded, windows)
    return torch.stack([whole(loaded, windows, c) - dense for c in candidates(loaded, unit, ranks)])


def units_of(loaded: LoadedModel) -> list[Unit]:
    """Every site, and every input group as one unit."""
    groups = [Unit(tuple(g), "joint") for g in loaded.anatomy.groups.values() if len(g) > 1]
    return [*(Unit((s,), "svd") for s in loaded.anatomy.sites), *groups]


def test_the_dense_loss_is_the_models(loaded, windows, probe) -> None:
    torch.testing.assert_close(probe.dense_nll, whole(loaded, windows), rtol=1e-6, atol=1e-7)
    assert probe.tokens == windows.numel()


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_differences_of_whole_models_in_every_family(kind: str, tmp_path) -> None:
    """Every site, and every input group that shares a factor: candidates side by side, inside the block."""
    loaded = load_model(tiny_of(kind, tmp_path), "cpu")
    ids = torch.randint(2, 300, (5, 12), generator=torch.Generator().manual_seed(0))
    probe = Probe(loaded, ids)
    finish(probe.prepare())
    felt = 0
    for unit in units_of(loaded):
        wanted = differences(loaded, ids, unit)
        found = probe.measure(unit, candidates(loaded, unit))
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=2e-5, msg=lambda m, u=unit: f"{u.path}: {m}")
        torch.testing.assert_close(
            probe.measure(unit, candidates(loaded, unit)[1:2]), wanted[1:2], rtol=1e-3, atol=2e-5
        )
        felt += bool(wanted.abs().max() > 1e-3)
    assert felt > len(units_of(loaded)) / 2  # the comparison is not of noughts


@pytest.mark.parametrize("stack", [1, 3, 4, 64])
def test_how_many_run_side_by_side_changes_nothing(loaded, windows, probe, stack: int, monkeypatch) -> None:
    monkeypatch.setattr(probe, "stack", stack)
    for unit in units_of(loaded)[5:9]:
        wanted = differences(loaded, windows, unit)
        torch.testing.assert_close(probe.measure(unit, candidates(loaded, unit)), wanted, rtol=1e-3, atol=2e-5)


def test_some_windows_first_and_the_others_later(loaded, windows, probe) -> None:
    unit = units_of(loaded)[8]
    made = candidates(loaded, unit)
    wanted = differences(loaded, windows, unit)
    for middle in (1, 3, 8):
        parts = [probe.measure(unit, made, 0, middle), probe.measure(unit, made, middle)]
        assert [p.shape for p in parts] == [(3, middle), (3, 11 - middle)]
        torch.testing.assert_close(torch.cat(parts, 1), wanted, rtol=1e-3, atol=2e-5)


def test_full_rank_costs_nothing(loaded, probe) -> None:
    for unit in units_of(loaded):
        assert probe.measure(unit, candidates(loaded, unit, (unit.max_rank,) * 2)).abs().max() < 2e-5


def test_measuring_leaves_both_models_alone(loaded, windows, probe) -> None:
    def state(model):
        return [
            (n, m, set(vars(m)), dict(m._forward_hooks), dict(m._forward_pre_hooks)) for n, m in model.named_modules()
        ]

    before = state(probe.model), state(loaded.model), whole(loaded, windows)
    for unit in units_of(loaded):
        probe.measure(unit, candidates(loaded, unit))
        probe.measure(unit, candidates(loaded, unit, (1,)))
    assert (state(probe.model), state(loaded.model)) == before[:2]
    assert torch.equal(whole(loaded, windows), before[2])


def test_a_measurement_that_fails_puts_everything_back(loaded, windows, probe) -> None:
    class Broken(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    unit, before = units_of(loaded)[4], dict(probe.model.named_modules())
    good = candidates(loaded, unit)[0]
    for bad in ([{unit.path: Broken()}], [good, {unit.path: Broken()}]):
        with pytest.raises(RuntimeError, match="broken"):
            probe.measure(unit, bad)
        assert dict(probe.model.named_modules()) == before
        assert not any("forward" in vars(m) for m in probe.model.modules())
    torch.testing.assert_close(
        probe.measure(unit, [good])[0], differences(loaded, windows, unit, (2,))[0], rtol=1e-3, atol=2e-5
    )


def test_a_token_counts_for_the_share_of_the_blocks_that_it_runs(loaded, probe) -> None:
    shares = [probe.share(Unit((s,), "svd")) for s in loaded.anatomy.sites]
    assert shares == pytest.approx([1.0] * 7 + [2 / 3] * 7 + [1 / 3] * 7)
    assert [p.done for p in Probe(loaded, probe.windows[:1]).prepare()] == [1, 2, 3]
