"""What a recipe takes, and what it refuses; its spellings are tested in test_spelling.py."""

import dataclasses

import pytest

from lowrank_core.errors import BadValue
from lowrank_core.methods import METHODS
from lowrank_core.study.recipe import Recipe, choose, read_recipe, recipe_of


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
