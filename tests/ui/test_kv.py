"""The KV slider: curves and bytes are there before anything runs, and its latents are in the plan that is judged."""

import numpy as np
import pytest

from lowrank_core.errors import BadValue
from lowrank_core.settings import BUNDLED_STUDY
from lowrank_core.store import Store
from lowrank_core.study.recipe import Recipe
from lowrank_core.study.spelling import from_query
from lowrank_core.ui import kv_squeeze, squeeze_handlers
from lowrank_core.ui.choices import CHOICES, choices_of, recipe_values
from lowrank_core.ui.relay import guarded
from lowrank_core.ui.view import view


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store", (BUNDLED_STUDY,))


def test_the_bundled_study_has_curves_for_every_block(store) -> None:
    seen = view(Recipe(kv_ratio=0.5), store)
    assert seen.ready and len(seen.kv.units) == 8 and not seen.kv.dense
    for unit in seen.kv.units:
        losses = seen.kv.losses[unit.path]
        assert len(losses) == unit.max_rank + 1 and (np.diff(losses) <= 1e-9).all() and losses[0] > losses[-1]


def test_the_slider_shows_half_the_bytes(store) -> None:
    none, half = (kv_squeeze.draw(view(Recipe(kv_ratio=r), store)) for r in (0, 0.5))
    assert "stored whole" in none.caption and "not stored" not in none.readout
    assert "**50 %** not stored" in half.readout and "per token" in half.readout
    assert len(half.plot.data) == 2 * len(none.plot.data) == 16  # each curve, and where the plan stands on it


def test_both_ratios_count_in_one_plan(store) -> None:
    """The layers of keys and values are no units, but what their latents save is part of the ratio."""
    seen = view(Recipe(ratio=0.3, kv_ratio=0.5), store)
    plan = seen.plan({})
    assert not any(".k_proj" in p or ".v_proj" in p for p in plan.ranks)
    assert 0.3 <= seen.removed(plan) < 0.305
    alone = view(Recipe(ratio=0, kv_ratio=0.5), store)
    assert set(alone.plan({}).ranks.values()) == {None} and 0 < alone.removed(alone.plan({})) < 0.1
    assert alone.predicted(alone.plan({})) == pytest.approx(alone.kv.predicted(alone.kv_plan))


def test_a_drag_is_answered_from_the_store(house) -> None:
    shown, trouble, _ = squeeze_handlers.preview(house, Recipe(ratio=0.2, kv_ratio=0.5), "a", None)
    assert not trouble and "KV keep 50" in squeeze_header(house)
    assert shown is not None


def squeeze_header(house) -> str:
    from lowrank_core.ui.squeeze_events import strip_value

    return strip_value(house, Recipe(ratio=0.2, kv_ratio=0.5), "a")


def test_a_ratio_out_of_bounds_is_said(store) -> None:
    from lowrank_core.study.recipe import recipe_of

    with pytest.raises(BadValue, match="KV ratio"):
        recipe_of(
            recipe_values(
                **dict(zip(("model", *CHOICES), ("demo", *choices_of(Recipe())), strict=True)) | {"kv_ratio": 1.2}
            )
        )


@pytest.mark.parametrize(
    "query", ["kv_ratio=1", "kv_ratio=1.2", "kv_ratio=-0.1", "kv_ratio=.nan", "kv_ratio=0.5&kv_heads=0"]
)
def test_a_link_out_of_bounds_is_said(query) -> None:
    with pytest.raises(BadValue, match="KV ratio is|0 heads"):
        from_query(query)


def test_heads_that_make_no_groups_are_said_and_lose_nothing(house) -> None:
    before, _, _ = squeeze_handlers.preview(house, Recipe(), "a", None)
    steps = squeeze_handlers.settle(house, Recipe(kv_ratio=0.5, kv_heads=3), "a", house.next_turn("a"), None)
    *_, (_, said) = guarded(steps, lambda line: (None, line))
    assert "2 key heads make no groups of 3" in said and "1, 2" in said
    assert squeeze_handlers.preview(house, Recipe(), "a", None)[0].readout == before.readout


def test_the_page_spells_it() -> None:
    of = Recipe(ratio=0.2, kv_ratio=0.4, kv_method="two-sided")
    assert Recipe(**recipe_values("demo", *choices_of(of))) == of
