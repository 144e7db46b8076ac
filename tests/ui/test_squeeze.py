"""Squeeze's handlers as functions: instant previews, measuring that supersedes, stops and resumes."""

import threading
import time

import pytest

from lowrank_core.allocation import ALLOCATORS
from lowrank_core.errors import LowRankError
from lowrank_core.methods import METHODS
from lowrank_core.study.recipe import Recipe, Walk, recipe_of
from lowrank_core.ui import choices, squeeze_events, squeeze_handlers


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
        recipe_of(choices.recipe_values("demo", "asvd-i", "waterfill", ratio, "demo", None, [], 0, "factored", False))
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
    assert squeeze_events.strip_value(house, recipe, "a") == squeeze_events.gr.skip()
    assert choices.spellings(Recipe(text="self"), "http://a/")[0].endswith("--calibrate self")


def test_own_text_is_previewed_without_a_model(house):
    shown, trouble, _ = squeeze_handlers.preview(house, Recipe(text="self"), "a", None)
    assert shown is None and trouble.startswith("Not calibrated yet")


def _tiny_recipe(tiny, tiny_file, **extra) -> Recipe:
    return Recipe(model=str(tiny), text=str(tiny_file), windows=8, window=32, probe_windows=2, ratio=0.4, **extra)


def settled(house, recipe: Recipe, session: str = "a", selected: str | None = None) -> list:
    """The states of a drag that rests."""
    return list(squeeze_handlers.settle(house, recipe, session, house.next_turn(session), selected))


@pytest.mark.parametrize("allocator", ["strs", "waterfill"])
def test_it_settles_on_a_part_of_the_table_and_judges(house, tiny, tiny_file, allocator):
    recipe = _tiny_recipe(tiny, tiny_file, allocator=allocator, measure="settled")
    states = settled(house, recipe)
    assert "Measured: perplexity" in states[-1][0].status and "The plan rests on" in states[-1][0].status
    view = house.view(recipe)
    measured = sum(map(len, view.points.values()))
    assert len(view.body.sites) <= measured < 9 * len(view.body.sites)
    assert house.visit("a").measured[-1]["now"]


def test_the_whole_table_when_asked(house, tiny, tiny_file):
    recipe = _tiny_recipe(tiny, tiny_file, allocator="strs", measure="table")
    states = settled(house, recipe)
    assert "The table is complete" in states[-1][0].status
    view = house.view(recipe)
    assert sum(map(len, view.points.values())) == 9 * len(view.body.sites)


def test_nothing_is_measured_twice_and_settled_again_at_once(house, tiny, tiny_file, monkeypatch):
    from lowrank_core.evaluation.sensitivity import Probe

    calls, measure = [], Probe.measure
    monkeypatch.setattr(Probe, "measure", lambda self, *a: calls.append(a) or measure(self, *a))
    recipe = _tiny_recipe(tiny, tiny_file, allocator="strs", measure="settled")
    settled(house, recipe)
    first = house.visit("a").plan
    assert calls
    calls.clear()
    settled(house, recipe)
    assert not calls and house.visit("a").plan == first
    settled(house, recipe.model_copy(update={"measure": "none"}))
    assert not calls


def test_a_target_perplexity_is_searched_and_met(house, tiny, tiny_file):
    from lowrank_core.calibration.texts import read_text

    recipe = _tiny_recipe(tiny, tiny_file, allocator="strs", measure="settled")
    settled(house, recipe)
    view = house.view(recipe)
    dense = view.study.dense(read_text(choices.HELD_OUT), 64).perplexity
    aim = round(dense * 1.02, 3)
    asked = recipe_of({**recipe.model_dump(), "target": aim, "target_text": choices.HELD_OUT})
    states = settled(house, asked)
    assert f"≤ {aim:g}" in states[-1][0].status
    found = view.study.evaluation(asked, house.visit("a").plan, read_text(choices.HELD_OUT), 64)
    assert found.perplexity <= aim
    low = recipe_of({**recipe.model_dump(), "target": 1.5, "target_text": choices.HELD_OUT})
    with pytest.raises(LowRankError, match="dense model itself"):
        settled(house, low)


def test_a_layers_rank_is_kept_and_freed(house):
    path = house.view(Recipe()).body.sites[3].path
    rest = squeeze_events.fixed({}, path, "7")
    recipe = recipe_of({"overrides": rest["overrides"]})
    squeeze_handlers.preview(house, recipe, "a", path)
    assert house.visit("a").plan.ranks[path] == 7
    assert squeeze_events.fixed(rest, path, "dense")["overrides"] == {path: None}
    assert squeeze_events.freed(rest, path, "")["overrides"] == {} and squeeze_events.fixed(rest, None, "3") == rest


def test_a_newer_turn_stops_the_older_and_keeps_its_points(house, tiny, tiny_file):
    recipe = _tiny_recipe(tiny, tiny_file, allocator="strs")
    turn = house.next_turn("a")
    steps = squeeze_handlers.settle(house, recipe, "a", turn, None)
    drawn = (shown for shown, _ in steps if shown is not None)
    assert "Predicted" in next(drawn).status
    assert not any(house.view(recipe).points.values()), "it is seen before anything is measured"
    next(drawn)
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
    assert house.view(one).plan().ranks == a.ranks
    assert house.view(two).plan().ranks == b.ranks


def test_storage_and_walk_reach_the_recipe():
    chosen = ("two-sided", "waterfill", 0.3, "demo", None, [], 0)
    plain = recipe_of(choices.recipe_values("demo", *chosen, "factored", False))
    best = recipe_of(choices.recipe_values("demo", *chosen, "pivoted", True))
    assert plain.walk is None and plain.storage == "factored"
    assert best.decisive() == recipe_of({**choices.BEST, "ratio": 0.3}).decisive()


def test_pivoted_storage_keeps_more_rank(house):
    ranks = {}
    for storage in ("factored", "pivoted"):
        recipe = Recipe(method="asvd-i", allocator="uniform", storage=storage, ratio=0.3)
        squeeze_handlers.preview(house, recipe, storage, None)
        ranks[storage] = house.visit(storage).plan.ranks
    assert all(ranks["pivoted"][p] > r for p, r in ranks["factored"].items() if r is not None)


def test_a_rule_that_looks_at_no_losses_measures_nothing(house, tiny, tiny_file):
    recipe = _tiny_recipe(tiny, tiny_file, allocator="uniform", measure="table")
    assert settled(house, recipe)[-1][0].status.startswith("Measured: perplexity")
    assert not sum(map(len, house.view(recipe).points.values()))


def test_predicted_measured_and_believed_are_drawn_apart(house, tiny, tiny_file):
    recipe = _tiny_recipe(tiny, tiny_file, allocator="strs", measure="settled")
    house.bench(recipe)
    path = house.view(recipe).body.sites[0].path
    shown = settled(house, recipe, selected=path)[-1][0].sensitivity
    names = [t.name for t in shown.data]
    assert any(n.endswith("predicted") for n in names) and any(n.endswith("measured") for n in names)
    assert "believed ± 1 sd" in names
    predicted, measured = (next(t for t in shown.data if t.name.endswith(n)) for n in ("predicted", "measured"))
    assert predicted.line.dash == "dash" and measured.line.dash == "solid" and "open" in predicted.marker.symbol


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


def test_a_rank_that_is_none_and_a_target_that_is_none_are_said(house):
    path = house.view(Recipe()).body.sites[3].path
    with pytest.raises(LowRankError, match="cannot be 'many'.*whole number, or dense"):
        recipe_of({"overrides": squeeze_events.fixed({}, path, "many")["overrides"]})
    wrong = recipe_of({"overrides": squeeze_events.fixed({}, path, "9999")["overrides"]})
    assert "cannot be 9999.** Give 1 to" in squeeze_handlers.preview(house, wrong, "a", None)[1]
    with pytest.raises(LowRankError, match="target"):
        values = choices.recipe_values("demo", "asvd-i", "strs", 0.3, "demo", None, [], 0, "factored", False)
        recipe_of({**values, "target": "much"})


def test_a_measured_plan_can_be_clicked_and_restored(house, tiny, tiny_file):
    recipe = _tiny_recipe(tiny, tiny_file, allocator="strs", measure="settled", seed=3)
    shown = settled(house, recipe)[-1][0]
    now = next(m for m in house.visit("a").measured if m["now"])
    assert house.visit("a").tried[now["key"]] == recipe
    keys = [row[0] for t in shown.tradeoff.data if t.customdata is not None for row in t.customdata]
    assert now["key"] in keys
    assert recipe_of(choices.recipe_values(recipe.model, *choices.choices_of(recipe))).decisive() == recipe.decisive()
