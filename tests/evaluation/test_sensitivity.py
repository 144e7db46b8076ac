"""A point of the table equals the difference of two whole models."""

import pytest
import torch

from lowrank_core.calibration.texts import read_text
from lowrank_core.calibration.windows import cut_windows
from lowrank_core.evaluation.perplexity import perplexity
from lowrank_core.evaluation.sensitivity import Probe
from lowrank_core.jobs import finish
from lowrank_core.linalg import balanced_svd
from lowrank_core.models.surgery import exchanged, factored, modules_of, share_copy
from lowrank_core.types import Setting, Unit

SETTING = Setting("tiny", 11, 24, "float32", "cpu")


@pytest.fixture(scope="module")
def windows(loaded, tiny_file) -> torch.Tensor:
    return cut_windows(loaded.tokenizer, read_text(tiny_file), 11, 24)


@pytest.fixture(scope="module")
def probe(loaded, windows) -> Probe:
    made = Probe(loaded, windows)
    finish(made.prepare())
    return made


def factors(loaded, site, rank: int):
    left, right, _, _ = balanced_svd(loaded.model.get_submodule(site.path).weight.double())
    return left[:, :rank], right[:rank]


def measured(loaded, probe, site, keep: float, rank: int):
    """The Point of a site with its plain SVD."""
    unit = Unit((site,), "svd")
    return probe.measure(unit, keep, rank, modules_of(loaded.model, unit, *factors(loaded, site, rank)))


def test_the_dense_loss_is_the_models(loaded, windows, probe) -> None:
    dense = perplexity(loaded.model, windows, SETTING)
    torch.testing.assert_close(
        probe.dense_nll, torch.tensor(dense.window_nll, dtype=torch.float64), rtol=1e-6, atol=1e-7
    )
    assert probe.tokens == windows.numel()


def test_a_point_is_the_difference_of_two_whole_models(loaded, windows, probe) -> None:
    dense, model = perplexity(loaded.model, windows, SETTING), share_copy(loaded.model)
    for site in loaded.anatomy.sites:
        left, right = factors(loaded, site, 4)
        point = measured(loaded, probe, site, 0.3, 4)
        with exchanged(model, {site.path: factored(model.get_submodule(site.path), left, right)}):
            cut = perplexity(model, windows, SETTING)
        differences = torch.tensor(cut.window_nll) - torch.tensor(dense.window_nll)
        assert (point.path, point.keep, point.rank) == (site.path, 0.3, 4)
        assert point.delta_nll == pytest.approx(cut.nll - dense.nll, abs=1e-5)
        assert point.stderr == pytest.approx(float(differences.std()) / 11**0.5, rel=1e-3, abs=1e-6)
        assert abs(point.delta_nll) > 1e-4  # a cut to rank 4 is felt: the comparison is not of noughts


def test_full_rank_costs_nothing(loaded, probe) -> None:
    for site in loaded.anatomy.sites:
        point = measured(loaded, probe, site, 1.0, site.max_rank)
        assert abs(point.delta_nll) < 1e-5 and point.stderr < 1e-5


def test_measuring_leaves_both_models_alone(loaded, windows, probe) -> None:
    modules = dict(probe.model.named_modules())
    before = perplexity(loaded.model, windows, SETTING)
    measured(loaded, probe, loaded.anatomy.sites[5], 0.1, 1)
    assert dict(probe.model.named_modules()) == modules
    assert perplexity(probe.model, windows, SETTING).nll == before.nll == perplexity(loaded.model, windows, SETTING).nll


def test_one_window_has_no_spread(loaded, windows) -> None:
    probe = Probe(loaded, windows[:1])
    assert [p.done for p in probe.prepare()] == [1, 2, 3]
    assert measured(loaded, probe, loaded.anatomy.sites[0], 0.1, 1).stderr == 0


def test_a_joint_unit_is_exchanged_whole(loaded, windows, probe) -> None:
    """q, k and v with one right factor between them: the point is the difference of two whole models."""
    unit = Unit(tuple(s for s in loaded.anatomy.sites if s.group == "1.qkv"), "joint")
    stacked = torch.cat([loaded.model.get_submodule(s.path).weight.double() for s in unit.sites])
    left, right, _, _ = balanced_svd(stacked)
    modules = modules_of(loaded.model, unit, left[:, :5], right[:5])
    point, model = probe.measure(unit, 0.3, 5, modules), share_copy(loaded.model)
    assert (point.path, point.rank) == ("1.qkv", 5)
    assert sum(p.numel() for p in torch.nn.ModuleList(modules.values()).parameters()) == unit.cost(5)
    with exchanged(model, modules):
        cut = perplexity(model, windows, SETTING)
    assert point.delta_nll == pytest.approx(cut.nll - perplexity(loaded.model, windows, SETTING).nll, abs=1e-5)
