"""A model that was saved compressed, opened like any other: every page says what is true of it, beside its base."""

import json
import shutil
from pathlib import Path

import pytest

from lowrank_core.errors import LowRankError, ModelUnsupported
from lowrank_core.lessons import LESSONS
from lowrank_core.study import compare
from lowrank_core.study.compress import run
from lowrank_core.study.steps import save
from lowrank_core.ui import (
    chat_handlers,
    drawing,
    export_handlers,
    kv_squeeze,
    learn_handlers,
    loader_handlers,
    measure_handlers,
    saved,
    see,
    see_handlers,
    sides,
    squeeze_handlers,
)
from lowrank_core.ui.choices import spellings
from lowrank_core.ui.host import PUBLIC
from tests.tiny import tiny_llama

SMALL = {"windows": 4, "window": 32, "probe_windows": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A dense model that some tests take away."""
    return tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def folders(base, tmp_path_factory):
    """recipe → the folder saved by it."""
    from lowrank_core.store import Store
    from lowrank_core.study.recipe import Recipe

    made, store = {}, Store(tmp_path_factory.mktemp("store"))

    def folder(**values) -> Path:
        name = "-".join(map(str, values.values())) or "plain"
        if name not in made:
            recipe = Recipe(model=str(base), ratio=0.4, **SMALL, **values)
            made[name] = tmp_path_factory.mktemp("saved") / name
            save(run(recipe, store), made[name], recipe.storage)
        return made[name]

    return folder


def opened(house, folder, session="a"):
    recipe = house.recipe({"model": str(folder), **SMALL})
    *_, (line, view) = loader_handlers.load(house, recipe, None, session)
    assert line == "" and view.ready, line
    return recipe, view


KINDS = [{}, {"storage": "pivoted"}, {"method": "joint"}, {"kv_ratio": 0.5}]


@pytest.mark.parametrize("values", KINDS, ids=str)
def test_every_kind_opens_and_is_told(house, folders, base, values):
    """Ranks, bytes and ratio are those of the folder, whatever its storage."""
    folder = folders(**values)
    recipe, view = opened(house, folder)
    record = json.loads((folder / "lowrank.json").read_text())
    plan = view.plan()
    assert plan.site_ranks(view.units) == {p: r for p, r in record["ranks"].items() if p in plan.site_ranks(view.units)}
    assert view.body.parameters == record["sizes"]["parameters_after"]
    assert view.bytes_of(plan) == pytest.approx(record["sizes"]["bytes_after"], rel=0.01)  # pivots are bytes
    if not values.get("kv_ratio"):  # of the layers that make latents there are no ranks
        assert view.removed(plan) == pytest.approx(record["sizes"]["ratio"])
    shown, trouble, _ = squeeze_handlers.preview(house, recipe, "a", None)
    assert (
        not trouble
        and f"**{folder.name}** was saved compressed" in shown.status
        and "not squeezed again" in shown.status
    )
    assert f"load `{base}`" in shown.status
    assert ("3 blocks store latents" in shown.status) == bool(values.get("kv_ratio"))
    assert "saved compressed" in drawing.header(view, plan, recipe)
    assert all(v is not None for v in see.whole(view))
    assert all(v is not None for v in kv_squeeze.values(view))


def test_it_settles_on_nothing_and_is_not_factored(house, folders):
    recipe, view = opened(house, folders())
    turn = house.next_turn("a")
    assert list(squeeze_handlers.settle(house, recipe, "a", turn, None)) == []
    with pytest.raises(ModelUnsupported, match="already compressed"):
        list(see_handlers.measure_held_out(house, view, view.body.sites[0].path, "a"))
    grid = measure_handlers.grid_of(recipe, ["svd"], [0.2], "demo-test")
    with pytest.raises(ModelUnsupported, match="already compressed"):
        list(measure_handlers.sweep(house, grid, "a"))


def test_its_recipe_is_the_one_that_made_it(house, folders, base):
    recipe, _ = opened(house, folders(storage="pivoted"))
    command, text, *_ = spellings(saved.made_by(recipe), "")
    assert "pivoted" in text and str(base) in text and str(base) in command


def test_its_layers_say_what_they_are(house, folders):
    _, view = opened(house, folders(method="joint"))
    unit = next(u for u in view.units if view.plan().ranks[u.path] is not None and len(u.sites) > 1)
    said = see_handlers.as_saved(view, unit.sites[1])
    assert f"shared by {unit.role}" in said and "is a product of rank" in said


def _pair(house, recipe):
    keys = [key for _, key in sides.choices(house.visit("a"), recipe.model, house.host)]
    return tuple(sides.side_of(key, recipe, house.visit("a"), house.host) for key in (keys[0], keys[-1]))


def test_it_chats_beside_its_base(house, folders, base):
    recipe, _ = opened(house, folders())
    pair = _pair(house, recipe)
    assert [s.label for s in pair] == [f"Dense: {base}", "Saved: plain"]
    steps = chat_handlers.reply(house, pair, recipe, "a", [], [], "cow", chat_handlers.Options(max_tokens=12))
    last = [s for s, _ in steps if s][-1]
    assert last.left[-1]["content"] != last.right[-1]["content"] and "Saved: plain" in last.strip


def test_it_is_measured_beside_its_base(house, folders, monkeypatch):
    monkeypatch.setattr(compare, "REPEATS", 1)  # speeds are not what is looked at
    monkeypatch.setattr(compare, "BATCHES", (1,))
    recipe, _ = opened(house, folders())
    *_, (found, status) = measure_handlers.compare(house, recipe, "a", ["demo-test"])
    record = json.loads((folders() / "lowrank.json").read_text())
    lines = {line.name: line for line in found.lines}
    assert status == "" and lines["parameters"].dense == record["sizes"]["parameters_before"]
    assert lines["parameters"].compressed == record["sizes"]["parameters_after"]
    apart = next(line for name, line in lines.items() if name.startswith("KL from dense"))
    assert apart.compressed > 0 and any(name.startswith("decode") for name in lines)
    assert "of the layers&#x27; parameters removed" in measure_handlers.table(found, recipe)
    view = house.view(recipe)
    shown = drawing.draw(view, house.visit("a"), view.plan(), {}, None, "")
    assert "Solid: the saved model" in shown.captions[2]


def test_without_its_base_it_stands_alone(house, folders, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(folders(), folder)
    for file in ("config.json", "lowrank.json"):
        text = json.loads((folder / file).read_text())
        of = text["quantization_config"] if file == "config.json" else text
        of["recipe"]["model"] = "gone"
        (folder / file).write_text(json.dumps(text))
    recipe, view = opened(house, folder)
    assert "`gone`, is not here" in squeeze_handlers.preview(house, recipe, "a", None)[0].status
    assert [s.label for s in _pair(house, recipe)] == ["Saved: moved"] * 2
    *_, (found, status) = measure_handlers.compare(house, recipe, "a", ["demo-test"])
    assert "alone" in status and found.lines[-1].dense is None and found.lines[-1].compressed > 1
    assert "<td>–</td>" in measure_handlers.table(found, recipe)
    yours = next(x for x in LESSONS if x.reads_model)
    layers = learn_handlers.layers_of(yours, lambda n: house.dense_view(n, "a"), recipe.model)
    assert layers.setting.startswith("Of 'demo'"), "the bundled model stands in, and it is said"


def test_another_model_of_that_name_is_not_its_base(house, folders, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(folders(), folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["recipe"]["model"] = "demo"
    (folder / "config.json").write_text(json.dumps(config))
    assert saved.saved_at(str(folder)).dense(house.host) is None


def test_it_is_handed_on_as_it_is_and_merged(house, folders):
    recipe, _ = opened(house, folders(storage="pivoted"))
    for storage, kept in (("factored", True), ("merged", False)):
        *_, (packed, status) = export_handlers.folder(house, recipe, "a", storage)
        assert packed and "pivoted.zip" in status
        shutil.unpack_archive(packed, Path(packed).parent)
        again = saved.saved_at(str(Path(packed).parent / "pivoted"))
        assert (again is not None) == kept
        if kept:
            assert again.said["ranks"] == saved.saved_at(recipe.model).said["ranks"]
            assert again.said["storage"] == "pivoted" and again.base == saved.saved_at(recipe.model).base
    report = export_handlers.report_of(house.view(recipe), house.visit("a"), {})
    assert "The plan" in report and "Singular values" not in report


def test_a_public_host_opens_none_from_a_folder(folders):
    with pytest.raises(LowRankError, match="loads no folders"):
        PUBLIC.check_model(str(folders()))
    assert saved.saved_at(str(folders())).dense(PUBLIC) is None, "nor its base from one"
