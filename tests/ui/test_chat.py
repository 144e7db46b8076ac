"""Chat's handlers as functions."""

import json
import re

import pytest

from lowrank_core.methods import METHODS
from lowrank_core.settings import BUNDLED_STUDY
from lowrank_core.store import Store
from lowrank_core.study.recipe import Recipe
from lowrank_core.ui import chat_events, chat_handlers, sides
from lowrank_core.ui.chat_handlers import Options
from lowrank_core.ui.house import House
from lowrank_core.ui.sides import Side
from lowrank_core.ui.strip import shade


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """One for all: the bundled model is calibrated once."""
    return House(Store(tmp_path_factory.mktemp("store"), (BUNDLED_STUDY,)))


def _reply(house, recipe, prompt="What does a cow say?", pair=None, swapped=False, **extra):
    options = Options(**{"max_tokens": 24, **extra})
    pair = pair or (Side("Dense"), Side("Small", recipe))
    return chat_handlers.reply(house, pair, recipe, "a", [], [], prompt, options, swapped)


def test_both_models_answer_and_are_compared(house):
    recipe = Recipe(ratio=0.1, allocator="waterfill")
    states = [s for s, _ in _reply(house, recipe) if s is not None]
    last = states[-1]
    assert last.left[-1]["content"] == "A cow says moo."
    assert last.right[-1]["role"] == "assistant" and last.right[-1]["content"]
    assert all("tokens on cpu" in n and "KV cache" in n and "alone: first token after" in n for n in last.notes)
    assert last.between.startswith("The same for")
    tokens = house.model("demo").tokenizer("A cow says moo.", add_special_tokens=False).input_ids
    assert last.strip.count("data-tip") == len(tokens) and "KL" in last.strip
    same = int(re.search(r"The same for (?:all )?(\d+)", last.between)[1])
    marked = [i for i, span in enumerate(last.strip.split("<span")[1:]) if 'class="parts"' in span.split(">")[0]]
    assert marked == ([same] if same < len(tokens) else [])
    assert "Dense: &#x27;A&#x27;" in last.strip and "Small: " in last.strip


def test_latents_and_what_they_replace_are_told(house):
    last = [s for s, _ in _reply(house, Recipe(ratio=0, kv_ratio=0.5, windows=4, probe_windows=2)) if s][-1]
    dense, ours = last.notes
    assert " dense" not in dense and "rebuild" not in dense
    assert re.search(r"KV cache [\d.]+ kB of [\d.]+ kB dense · alone: .* ms for each to rebuild", ours)


def test_swapped_sides_change_places_but_the_strip_stays(house):
    recipe = Recipe(ratio=0.6)
    plain = [s for s, _ in _reply(house, recipe) if s][-1]
    turned = [s for s, _ in _reply(house, recipe, swapped=True) if s][-1]
    assert turned.left[-1] == plain.right[-1] and turned.right[-1] == plain.left[-1]
    assert turned.strip == plain.strip


def test_two_compressed_models(house):
    recipe = Recipe(ratio=0.5)
    pair = tuple(sides.side_of(key, recipe, house.visit("a"), house.host) for key in ("method:svd", sides.NOW))
    assert pair[0].recipe.method == "svd" and pair[0].recipe.ratio == 0.5 and pair[1].recipe == recipe
    last = [s for s, _ in _reply(house, recipe, pair=pair) if s][-1]
    assert last.left[-1]["content"] != last.right[-1]["content"] and pair[0].label in last.strip
    made = list(house._made)
    again = [s for s, _ in _reply(house, recipe, pair=pair) if s][-1]
    assert again.left == last.left and list(house._made) == made, "a model at hand is not made again"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_a_side(house, method):
    side = sides.side_of(
        f"method:{method}", Recipe(storage="pivoted", overrides={"x": 3}), house.visit("a"), house.host
    )
    assert side.recipe.method == method and not side.recipe.overrides
    assert house.view(side.recipe).plan({}).ranks


def test_a_measured_plan_can_be_a_side(house):
    visit = house.visit("a")
    visit.tried["before"] = Recipe(ratio=0.4)
    found = {key for _, key in sides.choices(visit, "demo", house.host)}
    assert "tried:before" in found and not any(
        k.startswith("tried") for _, k in sides.choices(visit, "other", house.host)
    )
    assert sides.side_of("tried:before", Recipe(), visit, house.host).recipe.ratio == 0.4
    assert sides.side_of("tried:gone", Recipe(), visit, house.host).recipe == Recipe()


def test_stop_ends_the_stream(house):
    stream = _reply(house, Recipe(), "Tell me a story about a fox.", max_tokens=300)
    for state, _ in stream:
        if state and state.notes[0]:
            break
    house.next_turn(chat_handlers.chat_lane("a"))
    assert [status for _, status in stream][-1] == "Stopped."


def test_an_empty_message_is_said(house):
    assert list(_reply(house, Recipe(), "  "))[0][1].startswith("**")


def test_chatting_does_not_stop_measuring(house):
    before = house.visit("a").turn
    list(_reply(house, Recipe(ratio=0.1), max_tokens=8))
    assert house.visit("a").turn == before


def test_colour_is_monotone():
    values = [shade(x) for x in (0, 1e-4, 1e-3, 0.1, 1, 3, 10)]
    assert values == sorted(values) and values[0] == 0 and values[-1] == 1


PAIR = (Side("Dense"), Side("Small", Recipe()))


def test_a_blind_chat_tells_nothing_before_the_vote():
    held = chat_events.begun({}, PAIR, Options(), True)
    assert held["new"] and not held["told"] and held["sides"] in (PAIR, PAIR[::-1])
    held |= {"notes": ("fast", "slow"), "strip": "<div>"}
    chats = [{"role": "user", "content": "hello"}]
    with pytest.raises(Exception, match="Vote first"):
        chat_events.transcript("json", held, chats, chats)
    again = chat_events.begun(held, PAIR, Options(), True)
    assert not again["new"] and again["swapped"] == held["swapped"]
    *_, verdict, told = chat_events.vote(held, "B")
    assert f"A is **{held['sides'][0].label}**" in verdict and told["told"]
    assert told["votes"] == {held["sides"][1].label: 1}
    after = chat_events.begun(told, PAIR, Options(), True)
    assert after["new"] and after["votes"] == told["votes"] and not after["told"]


def test_lots_are_drawn():
    assert {chat_events.begun({}, PAIR, Options(), True)["swapped"] for _ in range(64)} == {True, False}
    assert not chat_events.begun({}, PAIR, Options(), False)["swapped"]


def test_a_saved_chat_holds_recipes_and_words():
    held = chat_events.begun({}, PAIR, Options(temperature=0.5), False)
    left, right = ([{"role": "user", "content": "hello"}, {"role": "assistant", "content": s}] for s in ("hi", "ho"))
    saved = json.loads(json.loads(chat_events.transcript("json", held, left, right))["text"])
    assert saved["settings"]["temperature"] == 0.5
    assert [s["recipe"] for s in saved["sides"]] == [None, Recipe().model_dump(mode="json")]
    assert [s["messages"][1]["content"] for s in saved["sides"]] == ["hi", "ho"]
    read = json.loads(chat_events.transcript("md", held, left, right))["text"]
    assert read.count("> hello") == 1 and "> hi" in read and "> ho" in read and "method: asvd-i" in read
