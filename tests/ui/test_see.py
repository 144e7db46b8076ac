"""See's handlers as functions."""

import json

import numpy as np
import pytest

from lowrank_core.methods import METHODS
from lowrank_core.study.recipe import Recipe
from lowrank_core.types import rank_at
from lowrank_core.ui import see_handlers
from lowrank_core.ui.squeeze_handlers import prepare


@pytest.fixture
def view(house):
    return house.view(Recipe())


def test_the_slider_moves_marks_by_name(view):
    site = view.body.sites[5]
    first, _, second, *_ = see_handlers.spectrum(view, site.path, 0.5, planned=7)
    marks, caption, table = see_handlers.at(view, site.path, 0.5)
    told = json.loads(marks)
    rank = rank_at(site, 0.5)
    assert told["x"] == rank and f"rank {rank}" in caption and f"rank **{rank}**" in table
    for figure in (first, second):
        named = [s for s in figure.layout.shapes if s.name == told["name"]]
        words = [a for a in figure.layout.annotations if a.name == told["name"]]
        assert [s.x0 for s in named] == [rank] and [a.text for a in words] == [told["text"]]
    assert "plan 7" in [a.text for a in first.layout.annotations]


def test_scaling_is_shown_beside_what_it_changes(view):
    path = see_handlers.loudest_site(view)
    plain, said = see_handlers.channels(view, path, "Sorted")
    scaled, more = see_handlers.channels(view, path, "Sorted", True)
    assert len(scaled.data) == len(plain.data) + 1 and "Scaling leaves" in more and "Scaling" not in said
    summary = view.study.summary(view.body.site(path).group)
    after = summary.rms / summary.abs_mean ** METHODS["asvd-0"].settle()["alpha"]
    ratio = f"{after.max() / np.median(after):.3g} ×"
    assert f"Scaling leaves the loudest channel {ratio}" in more
    drawn = next(t for t in scaled.data if "after scaling" in t.name)
    assert max(drawn.y) / np.median(drawn.y) == pytest.approx(after.max() / np.median(after), rel=1e-4)


def test_every_click_in_the_map_has_a_layer(view):
    for group in view.body.group_keys:
        assert view.body.site(see_handlers.first_site(view, group)).group == group


def test_held_out_errors_are_measured_once_and_shown_solid(house, tiny, tiny_file):
    recipe = Recipe(model=str(tiny), text=str(tiny_file), windows=8, window=32, probe_windows=2)
    bench = house.bench(recipe)
    for job in prepare(bench, recipe):
        list(job)
    view = house.view(recipe)
    path = view.body.sites[0].path
    before = see_handlers.spectrum(view, path, 0.5)[2]
    *_, (done, status) = see_handlers.measure_held_out(house, view, path, "a")
    assert done and "demo-test" in status
    after = see_handlers.spectrum(view, path, 0.5)[2]
    new = [t for t in after.data if t.name.endswith("held out")]
    assert len(after.data) == len(before.data) + len(new) and len(new) >= 1
    assert all(t.line.dash is None and not t.marker.symbol.endswith("open") for t in new)
    assert "held out" in see_handlers.at(view, path, 0.5)[2]
    assert list(see_handlers.measure_held_out(house, view, path, "a")) == [(True, "")]
