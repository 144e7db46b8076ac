"""What a workbench computes and stores: spectra, points and evaluations, each once, each what it says."""

import pytest
import torch

from lowrank_core.calibration.texts import read_text
from lowrank_core.calibration.windows import cut_windows
from lowrank_core.evaluation.sensitivity import Probe
from lowrank_core.jobs import finish
from lowrank_core.methods import METHODS
from lowrank_core.study import artefacts, build, compress
from lowrank_core.types import Plan


@pytest.mark.parametrize("method", METHODS)
def test_spectra_price_what_the_cut_costs(bench, method: str) -> None:
    parameters = METHODS[method].settle()
    gradient = bench.store.read(bench.source.gradient()).arrays
    for path, spectrum in finish(bench.spectra(method, parameters)).items():
        w, gram = bench.weight(path), bench.statistics(bench.sites[path].group).gram
        assert spectrum.path == path and spectrum.method == method
        assert spectrum.energy == pytest.approx(float(torch.trace(w @ gram @ w.T)), rel=1e-9)
        assert spectrum.loss_scale == pytest.approx(float(gradient[path].mean()) / 2)
        assert spectrum.ranks[0] == 0 and spectrum.ranks[-1] == bench.sites[path].max_rank
        for rank, error in zip(spectrum.ranks[::3], spectrum.output_error[::3], strict=True):
            cut = METHODS[method].factorize(w, bench.statistics(bench.sites[path].group), parameters).cut(int(rank))
            rest = w - cut.left @ cut.right
            assert float(error) == pytest.approx(float(torch.trace(rest @ gram @ rest.T)), abs=1e-6 * spectrum.energy)


def test_a_measured_point_is_the_compressed_model(bench, recipe_of) -> None:
    """A site at a rank, by the table and by a plan: the same loss on the probe windows."""
    site = bench.loaded.anatomy.sites[8]
    (point,) = finish(bench.measure("svd", {}, [(site.path, 0.3)]))
    model = compress.compress(bench, recipe_of(method="svd"), Plan({site.path: point.rank}))
    probe_windows = bench.windows[:4]
    setting = bench.study.setting(4)
    losses = [compress.perplexity(m, probe_windows, setting).nll for m in (model, bench.loaded.model)]
    assert point.delta_nll == pytest.approx(losses[0] - losses[1], abs=1e-6)


def test_points_are_measured_once_and_in_the_order_asked(bench, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(
        build,
        "Probe",
        type(
            "Counted",
            (Probe,),
            {
                "measure": lambda self, site, keep, *rest: (
                    calls.append((site.path, keep)) or Probe.measure(self, site, keep, *rest)
                )
            },
        ),
    )
    paths = list(bench.sites)
    wanted = [(paths[3], 0.35), (paths[0], 0.35), (paths[3], 0.15)]
    found = finish(bench.measure("asvd-0", {"alpha": 0.25}, wanted))
    assert [(p.path, p.keep) for p in found] == calls == wanted
    assert finish(bench.measure("asvd-0", {"alpha": 0.25}, wanted[::-1])) == found[::-1] and calls == wanted
    finish(bench.measure("asvd-0", {"alpha": 0.75}, wanted[:1]))
    assert len(calls) == 4  # another parameter is another measurement
    assert set(bench.study.points(paths[3], "asvd-0", {"alpha": 0.25})) == {0.15, 0.35}


def test_evaluations_are_stored(bench, recipe_of, tiny_file, monkeypatch) -> None:
    text, recipe = read_text(tiny_file), recipe_of()
    plan = Plan({s.path: 6 for s in bench.loaded.anatomy.sites})
    model = compress.compress(bench, recipe, plan)
    dense, cut = (
        compress.evaluate(bench, text, windows=5),
        compress.evaluate(bench, text, model, recipe, plan, windows=5),
    )
    assert dense.nll != cut.nll and dense.tokens == cut.tokens == 5 * 23
    assert (
        dense.nll
        == compress.perplexity(bench.loaded.model, cut_windows(bench.loaded.tokenizer, text, 5, 24), dense.setting).nll
    )
    monkeypatch.setattr(compress, "perplexity", None)  # from here on nothing may be measured
    assert compress.evaluate(bench, text, windows=5) == dense
    assert compress.evaluate(bench, text, model, recipe, plan, windows=5) == cut


def test_values_survive_the_store(bench) -> None:
    group = "1.down"
    summary = bench.study.summary(group)
    again = artefacts.unpack_summary(artefacts.pack_summary(summary))
    assert again.group == group and again.tokens == 12 * 24 and again.map_tokens == summary.map_tokens
    assert all(
        (getattr(again, n) == getattr(summary, n)).all()
        for n in ("rms", "abs_mean", "abs_max", "kurtosis", "map_channels", "map_values")
    )
    assert bench.study.body == bench.body and bench.body.site_parameters == 3 * 7680
    assert (
        bench.body.chat
        and bench.body.context == 64
        and len(bench.body.group_keys) == 12
        and bench.body.element_size == 4
    )
