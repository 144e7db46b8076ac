"""Chat's handlers as functions."""

from lowrank_core.study.recipe import Recipe
from lowrank_core.ui import chat_handlers


def _reply(house, recipe, prompt="What does a cow say?", **extra):
    settings = {"raw": False, "temperature": 0.0, "max_tokens": 24, "system": "", **extra}
    return chat_handlers.reply(house, recipe, "a", [], [], prompt, **settings)


def test_both_models_answer(house):
    recipe = Recipe(ratio=0.1, allocator="waterfill")
    states = [s for s, _ in _reply(house, recipe) if s is not None]
    last = states[-1]
    assert last.left[-1]["content"] == "A cow says moo."
    assert last.right[-1]["role"] == "assistant" and last.right[-1]["content"]
    assert "tokens" in last.notes[0] and "KV cache" in last.notes[1] and last.between.startswith("The same for")


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
