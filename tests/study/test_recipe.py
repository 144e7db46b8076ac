"""One recipe, spelt as YAML, as a command and as Python, comes back the same."""

import dataclasses
import shlex

import pytest

from lowrank_core.errors import BadValue
from lowrank_core.methods import METHODS
from lowrank_core.study.recipe import Recipe, choose, read_recipe, recipe_of

FULL = Recipe(
    model="some/folder with spaces",
    text="näive.txt",
    windows=16,
    window=64,
    probe_windows=8,
    method="nsvd-i",
    parameters={"share": 0.9},
    allocator="strs",
    ratio=0.123456789,
    overrides={"model.layers.0.mlp.up_proj": 3, "b": None},
    dense_roles=("q", "k"),
    dense_blocks=(0, 2),
    seed=7,
)
RECIPES = [Recipe(), Recipe(ratio=0.5, method="svd"), FULL]


@pytest.mark.parametrize("recipe", RECIPES)
def test_yaml_round_trip(recipe, tmp_path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml(), "utf-8")
    assert recipe_of(read_recipe(path)) == recipe


@pytest.mark.parametrize("recipe", RECIPES)
def test_python_round_trip(recipe) -> None:
    line = recipe.to_python().splitlines()[-1].removeprefix("compressed = lowrank_core.run(").removesuffix(")")
    assert eval(line, {"lowrank_core": type("L", (), {"Recipe": Recipe})}) == recipe  # noqa: S307


def flags(command: str) -> dict[str, str]:
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "lowrank_core", "compress"]
    return {"model": words[4], **dict(zip(words[5::2], words[6::2], strict=True))}


def test_the_command_says_all_that_the_recipe_says() -> None:
    recipe = Recipe(
        model="a b", text="t.txt", windows=16, window=64, seed=7, method="svd", allocator="uniform", ratio=0.123456789
    )
    assert flags(recipe.to_command()) == {
        "model": "a b",
        "--ratio": "0.123456789",
        "--method": "svd",
        "--allocator": "uniform",
        "--calibrate": "t.txt",
        "--windows": "16",
        "--window": "64",
        "--seed": "7",
    }
    assert flags(Recipe().to_command())["--ratio"] == "0.3"


@pytest.mark.parametrize(
    "values",
    [
        {"overrides": {"p": 1}},
        {"dense_roles": ("q",)},
        {"dense_blocks": (1,)},
        {"method": "asvd-0", "parameters": {"alpha": 1.0}},
        {"probe_windows": 8},
    ],
)
def test_what_no_flag_says_is_left_to_a_recipe_file(values) -> None:
    assert flags(Recipe(**values).to_command()) == {"model": "demo", "--recipe": "recipe.yaml"}


@pytest.mark.parametrize(
    "values",
    [
        {"ratio": 0},
        {"ratio": 1},
        {"ratio": -0.1},
        {"ratio": float("nan")},
        {"ratio": "much"},
        {"method": "magic"},
        {"allocator": "magic"},
        {"method": "svd", "parameters": {"alpha": 1}},
        {"method": "asvd-0", "parameters": {"alpha": 9}},
        {"colour": "red"},
        {"windows": "many"},
        {"windows": 0},
        {"windows": -1},
        {"window": 1},
        {"window": 0},
        {"probe_windows": 0},
        {"probe_windows": -3},
        {"overrides": {"p": "some"}},
        {"overrides": [1]},
        {"dense_blocks": ["first"]},
        {"model": 3},
        {"seed": "x"},
    ],
)
def test_untrusted_values_are_refused_in_one_sentence(values) -> None:
    with pytest.raises(BadValue) as refused:
        recipe_of(values)
    assert refused.value.message.endswith(".") and "\n" not in refused.value.message and refused.value.hint


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValueError):
        Recipe().ratio = 0.5


def test_every_method_fits_a_recipe() -> None:
    for key, method in METHODS.items():
        values = {p.name: p.low for p in method.parameters}
        assert Recipe(method=key, parameters=values).parameters == values
        assert dataclasses.is_dataclass(choose(METHODS, key, "method"))


def test_choosing_lists_what_there_is() -> None:
    with pytest.raises(BadValue) as refused:
        choose(METHODS, "magic", "method")
    assert all(key in refused.value.hint for key in METHODS)


@pytest.mark.parametrize("content", [b"- 1\n- 2\n", b"just words", b"", b"a: [", b"\xff\xfe\x00", b"a: b: c"])
def test_files_that_are_no_recipes(tmp_path, content: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(BadValue):
        read_recipe(path)
    with pytest.raises(BadValue):
        read_recipe(tmp_path / "nowhere.yaml")
