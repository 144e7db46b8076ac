"""One recipe, spelt as YAML, command line, Python, link and page, comes back the same from each."""

from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrank_core import cli
from lowrank_core.allocation import ALLOCATORS
from lowrank_core.calibration.texts import TEXTS, is_named, read_text
from lowrank_core.cli import compress as command
from lowrank_core.errors import BadValue, TextNotFound
from lowrank_core.methods import METHODS
from lowrank_core.study import spelling
from lowrank_core.study.recipe import MULTIPLES, STORAGES, Recipe, Walk, read_recipe, recipe_of
from lowrank_core.ui import choices

FULL = Recipe(
    model="some/folder with spaces & more",
    text="näive.txt",
    windows=16,
    window=64,
    probe_windows=8,
    method="nsvd-i",
    parameters={"share": 0.9},
    role_methods={"q": "svd"},
    allocator="strs",
    storage="pivoted",
    multiple=8,
    walk={"beta": 0.25, "ridge": 1e-5},
    ratio=0.123456789,
    overrides={"model.layers.0.mlp.up_proj": 3, "b: [c]": None},
    dense_roles=("q", "k"),
    dense_blocks=(0, 2),
    seed=7,
)
RECIPES = [Recipe(), Recipe(ratio=0.5, method="svd"), Recipe(walk=Walk()), FULL]

words = st.text("abz09 ._/-é'\"&=+%#:{}[]", min_size=1, max_size=12).filter(lambda w: not w.startswith("-"))
roles = st.sampled_from(["q", "k", "v", "o", "gate", "up", "down"])
recipes = st.builds(
    Recipe,
    model=words,
    text=st.sampled_from(list(TEXTS)),
    windows=st.integers(1, 10**6),
    window=st.none() | st.integers(2, 4096),
    probe_windows=st.integers(1, 128),
    method=st.sampled_from(list(METHODS)),
    role_methods=st.dictionaries(roles, st.sampled_from(list(METHODS)), max_size=3),
    allocator=st.sampled_from(list(ALLOCATORS)),
    storage=st.sampled_from([s for s in STORAGES if s != "merged"]),
    multiple=st.sampled_from(MULTIPLES),
    walk=st.none()
    | st.builds(Walk, beta=st.floats(0, 1), carry=st.floats(0, 1), ridge=st.floats(1e-9, 1), norm=st.booleans()),
    ratio=st.floats(0.001, 0.999),
    overrides=st.dictionaries(words, st.none() | st.integers(1, 4096), max_size=3),
    dense_roles=st.lists(roles, max_size=3).map(tuple),
    dense_blocks=st.lists(st.integers(0, 99), max_size=3).map(tuple),
    seed=st.integers(0, 2**31),
)


class Parsed(Exception):
    """What the command line made of its words."""


def by_yaml(recipe: Recipe, folder, monkeypatch) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(spelling.to_yaml(recipe), "utf-8")
    return recipe_of(read_recipe(path))


def by_command(recipe: Recipe, folder, monkeypatch) -> Recipe:
    """Through the shell's own splitting and the real command line, up to where the work would begin."""
    import shlex

    words = shlex.split(spelling.to_command(recipe))
    assert words[:3] == ["python", "-m", "lowrank_core"]
    found = []
    with monkeypatch.context() as patch:
        patch.setattr(command, "dense_folder", lambda model, device=None: None)
        patch.setattr(command, "_compress", lambda settled, *rest: found.append(settled))
        cli.main(words[3:])
    return found[0]


def by_python(recipe: Recipe, folder, monkeypatch) -> Recipe:
    line = spelling.to_python(recipe).splitlines()[-1].removeprefix("compressed = lowrank_core.run(").removesuffix(")")
    return eval(line, {"lowrank_core": type("L", (), {"Recipe": Recipe})})  # noqa: S307


def by_link(recipe: Recipe, folder, monkeypatch) -> Recipe:
    return spelling.from_query(spelling.to_link(recipe, "http://127.0.0.1:7860/?theme=dark").partition("?")[2])


def by_page(recipe: Recipe, folder, monkeypatch) -> Recipe:
    """Onto the page's controls, as the load event puts it there, and off them, as every handler reads it."""
    return recipe_of(choices.recipe_values(recipe.model, *choices.choices_of(recipe)))


WAYS = [by_yaml, by_command, by_python, by_link, by_page]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_there_and_back(way, recipe, tmp_path, monkeypatch) -> None:
    if way is by_link and not is_named(recipe.text):
        recipe = recipe.model_copy(update={"text": "chat:demo:2+c4-sample:1"})
    assert way(recipe, tmp_path, monkeypatch) == recipe


@settings(max_examples=40)
@given(recipes)
def test_any_recipe_there_and_back(tmp_path_factory, recipe) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for way in WAYS:
            assert way(recipe, tmp_path_factory.getbasetemp(), patch) == recipe, way.__name__


def test_a_new_field_is_spelt_for_free(monkeypatch) -> None:
    class Later(Recipe):
        depth: dict[str, float] = {}

    monkeypatch.setattr(spelling, "Recipe", Later)
    later = Later(depth={"a": 1e-5})
    assert "--set 'depth={a: 1.0e-05}'" in spelling.to_command(later)
    assert spelling.settings_of(["depth={a: 1.0e-05}"]) == {"depth": {"a": 1e-5}}
    assert "depth" in spelling.to_yaml(later) and "depth" in spelling.to_query(later)
    assert "depth={'a': 1e-05}" in spelling.to_python(later)


def test_flags_and_settings_exist_on_the_command_line() -> None:
    import typer

    known = {o for p in typer.main.get_command(cli.app.app).commands["compress"].params for o in p.opts}
    assert {*spelling.FLAGS.values(), "--set"} <= known and set(spelling.FLAGS) <= set(Recipe.model_fields)


def test_a_link_carries_a_text_s_hash_only(tmp_path) -> None:
    file = tmp_path / "secret name.txt"
    file.write_text("words of mine " * 50)
    query = spelling.to_query(Recipe(text=str(file), ratio=0.2))
    assert "secret" not in query and "words" not in query and str(tmp_path) not in query
    assert parse_qs(query)["text"] == [f"upload:{read_text(file).digest}"]
    opened = spelling.from_query(query)
    with pytest.raises(TextNotFound, match="not here"):
        read_text(opened.text)
    assert spelling.to_query(opened) == query  # handed on before the file is there
    assert spelling.with_text(opened, str(file)) == Recipe(text=str(file), ratio=0.2)
    other = tmp_path / "other.txt"
    other.write_text("not those")
    with pytest.raises(BadValue, match="not the text"):
        spelling.with_text(opened, str(other))


def test_the_page_asks_for_a_link_s_text(tmp_path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("words of mine " * 50)
    opened = spelling.from_query(spelling.to_query(Recipe(text=str(file))))
    values = dict(zip(choices.CHOICES, choices.choices_of(opened), strict=True))
    assert values["text"] == opened.text and values["upload"] is None
    with pytest.raises(TextNotFound, match="not here"):
        read_text(choices.recipe_values("demo", **values)["text"])
    assert choices.recipe_values("demo", **{**values, "upload": str(file)})["text"] == str(file)
    file.write_text("others")
    with pytest.raises(BadValue, match="not the text"):
        choices.recipe_values("demo", **{**values, "upload": str(file)})


@pytest.mark.parametrize(
    "query", ["ratio=much", "ratio=[1", "overrides=3", "method=magic", "walk={beta: 7}", "dense_roles=q", "ratio=0"]
)
def test_bad_links_are_refused_in_one_sentence(query) -> None:
    with pytest.raises(BadValue) as refused:
        spelling.from_query(query)
    assert refused.value.message.endswith(".") and "\n" not in refused.value.message and refused.value.hint


def test_a_link_without_a_recipe_is_none() -> None:
    assert spelling.from_query("__theme=dark") is None and spelling.from_query({}) is None


@pytest.mark.parametrize("pair", ["colour=red", "ratio", "=3"])
def test_settings_that_are_none(pair) -> None:
    with pytest.raises(BadValue, match="none of a recipe"):
        spelling.settings_of([pair])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"ratio": None}, "ratio cannot be nothing.*Give for example 0.3"),
        ({"overrides": {"blocks.0.q": "many"}}, "rank of blocks.0.q cannot be 'many'.*or dense"),
        ({"colour": "red"}, "colour is wrong.*It takes: model, "),
    ],
)
def test_a_bad_value_is_said_with_what_would_do(values, says) -> None:
    with pytest.raises(BadValue, match=says):
        recipe_of(values)
