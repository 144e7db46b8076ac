"""The error of a cut on other text, against the error on its own."""

import numpy as np
import pytest

from lowrank_core.jobs import finish
from lowrank_core.settings import COMPARED
from lowrank_core.study.compress import open_workbench
from lowrank_core.study.held_out import held_out_error
from lowrank_core.study.recipe import Recipe
from lowrank_core.types import Unit

METHODS = (*COMPARED, "nsvd-ii")


@pytest.fixture
def bench(loaded, store, tiny, tiny_file):
    recipe = Recipe(model=str(tiny), text=str(tiny_file), windows=6, window=32)
    return open_workbench(recipe, store, loaded=loaded)


def _units(bench):
    site = bench.body.sites[-1]
    return [Unit((site,), m, Recipe().settings_of(m)) for m in METHODS]


def test_on_its_own_text_it_is_the_predicted_error(bench):
    units = _units(bench)
    found = held_out_error(bench, bench, units)
    for unit in units:
        spectrum = finish(bench.spectra((unit,)))[unit.path]
        ranks, errors = found[unit.method]
        known = np.isin(ranks, spectrum.ranks)
        predicted = np.interp(ranks, spectrum.ranks, spectrum.output_error) / spectrum.energy
        assert known.sum() > 3 and ranks[0] == 1 and ranks[-1] == unit.max_rank
        np.testing.assert_allclose(errors[known], predicted[known], rtol=2e-3, atol=1e-5)


def test_on_other_text_asvd_i_may_lose_but_nothing_vanishes(bench, loaded, store, tiny, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("One day the owl asked the fox for a red boat. " * 200, "utf-8")
    recipe = Recipe(model=str(tiny), text=str(other), windows=6, window=32)
    found = held_out_error(bench, open_workbench(recipe, store, loaded=loaded), _units(bench))
    own = held_out_error(bench, bench, _units(bench))
    for method in METHODS:
        ranks, errors = found[method]
        assert errors[-1] < 1e-4 and (np.diff(errors) < 1e-6).all()
    assert not np.allclose(found["asvd-i"][1], own["asvd-i"][1], rtol=0.01)


def test_it_collects_what_its_layer_needs_and_no_more(bench):
    site = bench.body.sites[0]
    held_out_error(bench, bench, [Unit((site,), m, Recipe().settings_of(m)) for m in METHODS])
    kept = {kind: count for kind, count, _ in bench.store.entries() if kind in ("gram", "fisher")}
    assert kept == {"gram": 1, "fisher": 1}
