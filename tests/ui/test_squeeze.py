"""Squeeze's handlers as functions: instant previews, measuring that supersedes, stops and resumes."""

import threading
import time

import pytest

from lowrank_core.allocation import ALLOCATORS
from lowrank_core.errors import LowRankError
from lowrank_core.methods import METHODS
from lowrank_core.study.recipe import Recipe, Walk, recipe_of
from lowrank_core.ui import squeeze, squeeze_handlers


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_preview_meets_the_ratio(house, method, allocator):
    recipe = Recipe(method=method, allocator=allocator, ratio=0.25)
    shown, trouble, turn = squeeze_handlers.preview(house, recipe, "a", None)
    assert not trouble and turn == house.visit("a").turn and shown.sensitivity is not None
    assert 0.25 <= house.visit("a").plan.ratio(house.view(recipe).units) <= 0.255


def test_preview_is_instant(house):
    squeeze_handlers.preview(house, Recipe(), "a", None)  # the curves of all methods, once
    taken = []
    for i in range(9):
        began = time.perf_counter()
        squeeze_handlers.preview(house, Recipe(ratio=0.2 + i / 50), "a", None)
        taken.append(time.perf_counter() - began)
    assert sorted(taken)[4] < 0.3


@pytest.mark.parametrize("ratio", [-1, 0, 1, "abc", float("nan")])
def test_bad_ratio_is_one_sentence_and_a_hint(ratio):
    with pytest.raises(LowRankError) as caught:
        recipe_of(squeeze.recipe_values("demo", "asvd-i", "waterfill", ratio, "demo", None, [], 0, "factored", False))
    assert caught.value.message.endswith(".") and caught.value.hint


def _bad_text(tmp_path, content: bytes) -> str:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("content", [b"", b"  \n ", b"\xff\xfe\x00bad"])
def test_bad_text_is_said_and_loses_nothing(house, tmp_path, content):
    before, _, _ = squeeze_handlers.preview(house, Recipe(), "a", None)
    shown, trouble, _ = squeeze_handlers.preview(house, Recipe(text=_bad_text(tmp_path, content)), "a", None)
    assert shown is None and trouble.startswith("**")
    assert before is not None and house.visit("a").plan is not None


def test_a_text_that_cannot_be_fetched_is_said_and_loses_nothing(house):
    recipe = Recipe(text="c4")  # tests are offline
    shown, trouble, turn = squeeze_handlers.preview(house, recipe, "a", None)
    assert shown is None and "c4-sample" in trouble and turn == house.visit("a").turn
    assert squeeze.strip_value(house, recipe, "a", "idle") == squeeze.gr.skip()
    assert squeeze.spellings(Recipe(text="self"))[0].endswith("--calibrate self")


def test_own_text_is_previewed_without_a_model(house):
    shown, trouble, _ = squeeze_handlers.preview(house, Recipe(text="self"), "a", None)
    assert shown is None and trouble.startswith("Not calibrated yet")


def _tiny_recipe(tiny, tiny_file, **extra) -> Recipe:
    return Recipe(model=str(tiny), text=str(tiny_file), windows=8, window=32, probe_windows=2, ratio=0.4, **extra)


def test_settle_measures_and_judges(house, tiny, tiny_file):
    recipe = _tiny_recipe(tiny, tiny_file)
    house.bench(recipe)
    _, _, turn = squeeze_handlers.preview(house, recipe, "a", None)
    states = list(squeeze_handlers.settle(house, recipe, "a", turn, None))
    assert "Measured: perplexity" in states[-1][0].status
    view = house.view(recipe)
    assert sum(map(len, view.points.values())) == 9 * len(view.body.sites)
    assert house.visit("a").measured[-1]["now"]


def test_a_newer_turn_stops_the_older_and_keeps_its_points(house, tiny, tiny_file):
    recipe = _tiny_recipe(tiny, tiny_file, allocator="strs")
    turn = house.next_turn("a")
    steps = squeeze_handlers.settle(house, recipe, "a", turn, None)
    for shown, _ in steps:
        if shown is not None:
            break
    began = time.perf_counter()
    house.next_turn("a")
    rest = list(steps)
    assert time.perf_counter() - began < 1 and len(rest) <= 1
    kept = sum(map(len, house.view(recipe).points.values()))
    assert kept > 0
    turn = house.next_turn("a")
    assert "Measured" in list(squeeze_handlers.settle(house, recipe, "a", turn, None))[-1][0].status


def test_two_sessions_share_points_but_not_plans(house, tiny, tiny_file):
    one, two = _tiny_recipe(tiny, tiny_file), _tiny_recipe(tiny, tiny_file, allocator="uniform")

    def work(recipe, session):
        for _ in squeeze_handlers.settle(house, recipe, session, house.next_turn(session), None):
            pass

    threads = [threading.Thread(target=work, args=a) for a in ((one, "a"), (two, "b"))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    a, b = house.visit("a").plan, house.visit("b").plan
    assert a.ranks != b.ranks
    assert house.view(one).plan(house.view(one).points).ranks == a.ranks
    assert house.view(two).plan(house.view(two).points).ranks == b.ranks


def test_storage_and_walk_reach_the_recipe():
    choices = ("two-sided", "waterfill", 0.3, "demo", None, [], 0)
    plain = recipe_of(squeeze.recipe_values("demo", *choices, "factored", False))
    best = recipe_of(squeeze.recipe_values("demo", *choices, "pivoted", True))
    assert plain.walk is None and plain.storage == "factored"
    assert best.decisive() == recipe_of({**squeeze.BEST, "ratio": 0.3}).decisive()


def test_pivoted_storage_keeps_more_rank(house):
    ranks = {}
    for storage in ("factored", "pivoted"):
        recipe = Recipe(method="asvd-i", allocator="uniform", storage=storage, ratio=0.3)
        squeeze_handlers.preview(house, recipe, storage, None)
        ranks[storage] = house.visit(storage).plan.ranks
    assert all(ranks["pivoted"][p] > r for p, r in ranks["factored"].items() if r is not None)


def test_a_plan_that_points_do_not_change_is_judged_first_and_its_line_stays(house, tiny, tiny_file, monkeypatch):
    monkeypatch.setattr(squeeze_handlers, "FRAME", 0.0)
    recipe = _tiny_recipe(tiny, tiny_file)
    states = list(squeeze_handlers.settle(house, recipe, "a", house.next_turn("a"), None))
    said = [shown.status for shown, _ in states if shown is not None]
    assert said[0].startswith("Measured: perplexity") and "Measuring" not in said[0]
    between = [s for s in said if "Measuring: " in s]
    assert between and all(s.startswith(said[0]) for s in between)


def test_a_walk_is_judged_without_points_under_a_label_of_its_own(house, tiny, tiny_file):
    plain = _tiny_recipe(tiny, tiny_file, method="two-sided", storage="pivoted")
    walked = plain.model_copy(update={"walk": Walk()})
    for recipe in (walked, plain):
        states = list(squeeze_handlers.settle(house, recipe, "a", house.next_turn("a"), None))
        assert "Measured: perplexity" in states[-1][0].status
        if recipe is walked:
            assert not sum(map(len, house.view(recipe).points.values()))
    labels = [m["label"] for m in house.visit("a").measured if "pivoted" in m["label"]]
    assert len(labels) == 2 and sum("walked" in label for label in labels) == 1


def test_joint_units_are_counted_as_layers(house):
    recipe = Recipe(method="joint", allocator="uniform", ratio=0.3)
    shown, _, _ = squeeze_handlers.preview(house, recipe, "a", None)
    assert "of 56 layers stay dense" in shown.readout


def test_another_method_is_shown_at_once(house):
    """What is compared with it is known already: only the new method's own curve is made."""
    squeeze_handlers.preview(house, Recipe(storage="pivoted"), "a", None)
    taken = []
    for method in ("fwsvd", "asvd-ii", "nsvd-ii"):
        began = time.perf_counter()
        squeeze_handlers.preview(house, Recipe(method=method, storage="pivoted"), "a", None)
        taken.append(time.perf_counter() - began)
    assert sorted(taken)[1] < 1
