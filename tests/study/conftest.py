"""A workbench on the tiny model, its results kept for the whole file of tests."""

import pytest

from lowrank_core.jobs import finish
from lowrank_core.store import Store
from lowrank_core.study import compress
from lowrank_core.study.recipe import Recipe


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory) -> Store:
    """One store for the module: what one run found the next one reads, as in life."""
    return Store(tmp_path_factory.mktemp("study"))


@pytest.fixture
def recipe_of(tiny, tiny_file):
    def make(**values) -> Recipe:
        return Recipe(
            **{
                "model": str(tiny),
                "text": str(tiny_file),
                "windows": 12,
                "window": 24,
                "probe_windows": 4,
                "ratio": 0.4,
                **values,
            }
        )

    return make


@pytest.fixture
def bench(recipe_of, shared_store, loaded):
    made = compress.open_workbench(recipe_of(), shared_store, loaded=loaded)
    finish(made.calibrate())
    return made
