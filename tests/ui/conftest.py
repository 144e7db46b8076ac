"""A house on the bundled study, with a store of its own."""

import pytest

from lowrank_core.settings import BUNDLED_STUDY
from lowrank_core.store import Store
from lowrank_core.ui.house import House


@pytest.fixture
def house(tmp_path):
    """A House whose writable store is empty and whose shipped study is the bundled one."""
    return House(Store(tmp_path / "store", (BUNDLED_STUDY,)))
