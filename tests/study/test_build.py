"""What a workbench computes and stores: spectra, points and evaluations, each once, each what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lowrank_core.calibration import backward
from lowrank_core.calibration.texts import read_text
from lowrank_core.calibration.windows import cut_windows
from lowrank_core.errors import NonFinite
from lowrank_core.evaluation.sensitivity import Probe
from lowrank_core.jobs import finish
from lowrank_core.methods import METHODS, Factorization
from lowrank_core.store import Store
from lowrank_core.study import artefacts, build, compress
from lowrank_core.study.factoring import unit_modules
from lowrank_core.study.recipe import Recipe
from lowrank_core.study.shelf import Shelf, size
from lowrank_core.study.units import units_of
from lowrank_core.types import Plan, Unit, rank_at


def units(bench, method: str = "asvd-i", **parameters) -> tuple[Unit, ...]:
    return units_of(bench.loaded.anatomy.sites, Recipe(method=method, parameters=parameters))


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_spectra_price_what_the_cut_costs(bench, method: str, centre: bool) -> None:
    """Every rank's error is that of the factors cut there, on the gram, or with centring on the covariance."""
    if centre and "centre" not in METHODS[method].settle():
        return
    made = units(bench, method, **({"centre": "yes"} if centre else {}))
    spectra = finish(bench.spectra(made))
    assert list(spectra) == [u.path for u in made]
    for unit in made:
        spectrum, w, statistics = spectra[unit.path], bench.unit_weight(unit), bench.statistics(unit)
        moment = statistics.gram - torch.outer(statistics.mean, statistics.mean) if centre else statistics.gram
        assert spectrum.path == unit.path and spectrum.method == method
        assert spectrum.energy == pytest.approx(float(torch.trace(w @ moment @ w.T)), rel=1e-9)
        assert spectrum.stable_rank == pytest.approx(float(w.square().sum() / torch.linalg.svdvals(w)[0] ** 2))
        assert spectrum.ranks[0] == 0 and spectrum.ranks[-1] == unit.max_rank
        fresh = METHODS[method].factorize(w, statistics, unit.settings)
        for rank, error in zip(spectrum.ranks[::3], spectrum.output_error[::3], strict=True):
            cut = fresh.cut(int(rank))
            rest = w - cut.left @ cut.right
            assert float(error) == pytest.approx(float(torch.trace(rest @ moment @ rest.T)), abs=1e-6 * spectrum.energy)


class Tokens:
    """Every token's input and gradient at a site."""

    def __init__(self):
        self.x, self.g = [], []

    def add(self, x: torch.Tensor, g: torch.Tensor, where: str) -> None:
        self.x.append(x.flatten(0, 1).double())
        self.g.append(g.flatten(0, 1).double())


@pytest.fixture(scope="module")
def tokens(loaded, tiny_file) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Site path → (N, n) inputs and (N, m) gradients on the calibration windows."""
    windows, found = cut_windows(loaded.tokenizer, read_text(tiny_file), 12, 24), {}

    def keep(site, sums: Tokens) -> None:
        found[site.path] = torch.cat(sums.x), torch.cat(sums.g)

    finish(backward.go_backward(loaded, windows, loaded.anatomy.sites, lambda s: Tokens(), keep))
    return found


@pytest.mark.parametrize(
    ("method", "centre"),
    [(m, c) for m in METHODS for c in (False, True) if not c or "centre" in METHODS[m].settle()],
)
def test_every_rank_is_priced_token_by_token(bench, tokens, method: str, centre: bool) -> None:
    """½ E[(gᵀ Δ x)²] over the calibration tokens, with centring of what the bias does not make good."""
    made = units(bench, method, **({"centre": "yes"} if centre else {}))
    spectra = finish(bench.spectra(made))
    for unit in made:
        w, statistics = bench.unit_weight(unit), bench.statistics(unit)
        fresh = METHODS[method].factorize(w, statistics, unit.settings)
        rests, wanted = [], []
        for rank in spectra[unit.path].ranks:
            cut = fresh.cut(int(rank))
            rests.append(
                ((w if fresh.second else fresh.left @ fresh.right) - cut.left @ cut.right).split(
                    [s.d_out for s in unit.sites]
                )
            )
        for i, site in enumerate(unit.sites):
            x, g = tokens[site.path]
            x = x - statistics.mean if centre else x
            each = torch.stack([0.5 * ((x @ parts[i].T) * g).sum(1).square().mean() for parts in rests])
            wanted.append(each.flip(0).cummax(0).values.flip(0))
        price = torch.stack(wanted).sum(0)
        if fresh.loss is not None:  # what the method predicts itself and the price: their geometric mean
            price = (price * fresh.loss).sqrt()
        found = torch.from_numpy(spectra[unit.path].loss).double()
        torch.testing.assert_close(
            found, price, rtol=1e-3, atol=1e-5 * float(price[0]), msg=lambda m, u=unit: f"{u}: {m}"
        )
        assert found[0] > 0 and (found.diff() <= 1e-7 * found[0]).all()


@pytest.mark.parametrize("method", ["svd", "two-sided", "joint", "nsvd-i"])
def test_a_measured_point_is_the_compressed_model(bench, recipe_of, method: str) -> None:
    """A unit at a rank, by the table and by a plan: the same loss on the probe windows."""
    unit = units(bench, method)[3]
    (point,) = finish(bench.measure([(unit, 0.3)]))
    assert (point.path, point.keep, point.rank) == (unit.path, 0.3, rank_at(unit, 0.3))
    model = compress.compress(bench, recipe_of(method=method), Plan({unit.path: point.rank}))
    probe_windows = bench.windows[:4]
    setting = bench.study.setting(4)
    losses = [compress.perplexity(m, probe_windows, setting).nll for m in (model, bench.loaded.model)]
    assert point.delta_nll == pytest.approx(losses[0] - losses[1], abs=1e-6)


def test_points_are_measured_once_and_in_the_order_asked(bench, monkeypatch) -> None:
    calls, measure = [], Probe.measure
    monkeypatch.setattr(
        Probe,
        "measure",
        lambda self, unit, made, *rest: calls.append((unit.path, len(made), *rest)) or measure(self, unit, made, *rest),
    )
    made = units(bench, "asvd-0", alpha=0.25)
    wanted = [(made[3], 0.35), (made[0], 0.35), (made[0], 0.15), (made[3], 0.15)]
    found = finish(bench.measure(wanted))
    assert [(p.path, p.keep) for p in found] == [(u.path, k) for u, k in wanted]
    assert calls == [(made[3].path, 1, 0, 4), (made[0].path, 2, 0, 4), (made[3].path, 1, 0, 4)]  # neighbours together
    assert finish(bench.measure(wanted[::-1])) == found[::-1] and len(calls) == 3
    finish(bench.measure([(units(bench, "asvd-0", alpha=0.75)[3], 0.35)]))
    assert len(calls) == 4  # another parameter is another measurement
    finish(bench.measure([(replace(made[3], storage="pivoted"), 0.35)]))
    assert len(calls) == 5  # and so is another storage: the keep means another rank
    assert set(bench.study.points(made[3])) == {0.15, 0.35}


def test_a_point_on_more_windows_is_measured_on_the_others_only(bench, monkeypatch) -> None:
    calls, measure = [], Probe.measure
    monkeypatch.setattr(
        Probe,
        "measure",
        lambda self, unit, made, *rest: calls.append((unit.path, len(made), *rest)) or measure(self, unit, made, *rest),
    )
    unit = units(bench, "asvd-0", alpha=0.3)[5]
    (one,) = finish(bench.measure([(unit, 0.4)], 1))
    assert one.windows == 1 and bench.study.points(unit) == {0.4: one} and calls == [(unit.path, 1, 0, 1)]
    whole = finish(bench.measure([(unit, 0.2), (unit, 0.4)]))
    assert calls[1:] == [(unit.path, 1, 0, 4), (unit.path, 1, 1, 4)]
    assert [p.windows for p in whole] == [4, 4] and whole[1].deltas[:1] == one.deltas
    assert finish(bench.measure([(unit, 0.4)], 2)) == [whole[1]] and len(calls) == 3  # more than was asked is known


def test_pieces_of_a_point_make_the_whole(bench) -> None:
    first, second = units(bench, "svd")[2], units(bench, "asvd-0", alpha=0.0)[2]  # one and the same factorization
    for windows in (1, 3, 4):
        (pieces,) = finish(bench.measure([(first, 0.5)], windows))
    (whole,) = finish(bench.measure([(second, 0.5)]))
    np.testing.assert_allclose(pieces.deltas, whole.deltas, atol=1e-5)
    assert abs(whole.delta_nll) > 1e-4


def test_statistics_come_with_the_gradient_moments_where_a_method_reads_them(bench) -> None:
    finish(bench.collect_fisher())
    site = units(bench, "two-sided")[2]
    found = bench.statistics(site)
    assert found.output_gram.shape == (site.d_out, site.d_out) and found.row_fisher.shape == (site.d_out,)
    assert found.column_fisher.shape == found.mean.shape == (site.d_in,)
    assert bench.statistics(units(bench)[2]).output_gram is None
    joint = units(bench, "joint")
    assert [u.path for u in joint[:4]] == ["0.qkv", "0.o", "0.gate_up", "0.down"] or len(joint) == 12
    assert bench.unit_weight(joint[0]).shape == (sum(s.d_out for s in joint[0].sites), 32)


def test_centring_adds_a_bias_that_makes_good_the_mean(bench) -> None:
    """Over the calibration windows, the mean of the compressed outputs is that of the dense ones."""
    unit = units(bench, "asvd-i", centre="yes")[6]
    assert unit.biased and not units(bench)[6].biased
    (module,) = unit_modules(bench, unit, 3).values()
    mean = bench.statistics(unit).mean
    torch.testing.assert_close(module(mean.float()), (bench.unit_weight(unit) @ mean).float(), rtol=1e-4, atol=1e-4)


# --- factors are kept within a number of bytes ------------------------------------------------------------------


def small(rank: int = 2, second=None) -> Factorization:
    return Factorization(torch.ones(4, rank), torch.ones(rank, 6), torch.ones(rank), torch.ones(rank + 1), second)


def test_the_shelf_keeps_what_was_used_last() -> None:
    shelf = Shelf(170)  # two of 80 bytes
    first, second, third = small(), small(), small()
    shelf.put(("a",), first)
    shelf.put(("b",), second)
    assert shelf.get(("a",)) is first and shelf.held == 160
    shelf.put(("c",), third)
    assert shelf.get(("b",)) is None and shelf.get(("a",)) is first and shelf.get(("c",)) is third and shelf.held == 160
    shelf.put(("c",), second)
    assert shelf.get(("c",)) is second and shelf.held == 160
    shelf.put(("d",), small(100))  # more than there is room for: the last one stays, alone
    assert shelf.get(("d",)) is not None and shelf.get(("a",)) is None and shelf.held == 4000


def test_the_weight_of_a_second_stage_counts() -> None:
    assert size(small()) == 80 and size(small(second=lambda rank: None)) == 80 + 4 * 6 * 4


@pytest.mark.parametrize("method", ["asvd-i", "joint", "nsvd-i"])
def test_a_shelf_that_is_too_small_changes_nothing_but_time(bench, recipe_of, monkeypatch, method: str) -> None:
    recipe = recipe_of(method=method)
    plan = Plan({u.path: 4 for u in units(bench, method)})
    ample = compress.compress(bench, recipe, plan)
    bench._factorizations = Shelf(1)
    for a, b in zip(ample.parameters(), compress.compress(bench, recipe, plan).parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("method", METHODS)
def test_spectra_are_factorized_once_and_slices_are_there_afterwards(
    bench, recipe_of, monkeypatch, method: str
) -> None:
    """One factorization per unit, for its errors, its prices and its modules; with a second stage, which is not kept,
    another for the modules."""
    store = Store(bench.store.folder.parent / f"fresh-{method}")
    fresh = compress.open_workbench(recipe_of(), store, loaded=bench.loaded)
    finish(fresh.calibrate())
    calls, real = [], build.factorize_unit
    monkeypatch.setattr(build, "factorize_unit", lambda unit, *rest: calls.append(unit.path) or real(unit, *rest))
    made = units(fresh, method)
    finish(fresh.spectra(made))
    assert sorted(calls) == sorted(u.path for u in made)
    for rank in (3, 5):
        compress.compress(fresh, recipe_of(method=method), Plan({u.path: rank for u in made}))
    assert len(calls) == len(made) * (1 if METHODS[method].sliceable else 2)


def test_factors_beyond_the_models_dtype_are_refused_by_name(bench) -> None:
    unit = units(bench, "svd")[0]
    made = bench.factorization(unit)
    with pytest.raises(NonFinite, match=unit.path):
        bench._in_dtype(unit, replace(made, left=made.left.double() * 1e300))


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
