"""Texts in the model's chat template: conversations whole, paragraphs as answers."""

import copy
import json

import pytest

from lowrank_core.calibration.chat import conversations
from lowrank_core.calibration.texts import read_text
from lowrank_core.calibration.windows import cut_windows
from lowrank_core.errors import BadValue, TextNotFound, TextTooShort

TALKS = [
    [{"role": "user", "content": "Hello, fox."}, {"role": "assistant", "content": "Hello!\n\nHow\u2028are you?"}],
    [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "The sky is blue. " * 30}],
]


@pytest.fixture
def talks(tmp_path):
    file = tmp_path / "talks.jsonl"
    lines = [json.dumps({"messages": m, "id": 1}, ensure_ascii=False) for m in TALKS]
    file.write_text("\n" + "\n\n".join(lines) + "\n", "utf-8")
    return file


def test_conversations_are_rendered_whole(loaded, talks) -> None:
    tokenizer = loaded.tokenizer
    expected = "".join(tokenizer.apply_chat_template(m, tokenize=False) for m in TALKS)
    windows = cut_windows(tokenizer, read_text(f"chat:{talks}"), 99, 16)
    said = tokenizer.decode(windows.flatten())
    assert len(windows) > 4 and expected.startswith(said) and len(expected) - len(said) < 150
    assert said.count("<|user|>") == 2


def test_paragraphs_are_answers_to_nothing(loaded) -> None:
    assert conversations("One.\nStill one.\n\n \nTwo.\n", "x") == [
        [{"role": "user", "content": ""}, {"role": "assistant", "content": p}] for p in ("One.\nStill one.", "Two.")
    ]
    said = loaded.tokenizer.decode(cut_windows(loaded.tokenizer, read_text("chat:wikitext-sample"), 2, 64).flatten())
    assert said.startswith("<|user|><|end|><|assistant|>= River Tarnwick =<|end|>")


def test_json_lines_without_messages_are_plain_text() -> None:
    assert len(conversations('{"text": "a"}\n{"text": "b"}', "x")) == 1
    assert conversations('["messages"]', "x")[0][1]["content"] == '["messages"]'


@pytest.mark.parametrize(
    "line",
    [
        "words",
        "{}",
        '{"messages": []}',
        '{"messages": "hi"}',
        '{"messages": [{"role": "user"}]}',
        '{"messages": [{"role": "user", "content": [1]}]}',
    ],
)
def test_lines_that_are_no_conversation_are_named(line: str) -> None:
    good = json.dumps({"messages": TALKS[0]})
    with pytest.raises(BadValue, match=r"Line 3 of 'x' is no conversation") as refused:
        conversations(f"{good}\n\n{line}\n{good}", "x")
    assert '"messages"' in refused.value.hint


def test_a_model_without_a_template_says_so(loaded) -> None:
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(BadValue, match="no chat template") as refused:
        cut_windows(tokenizer, read_text("chat:demo"), 2, 16)
    assert "'demo'" in refused.value.hint


def test_a_template_that_refuses_says_which(loaded) -> None:
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(BadValue, match=r"conversation 1 of 'demo': roles must alternate"):
        cut_windows(tokenizer, read_text("chat:demo"), 2, 16)


def test_the_name_and_the_digest_show_it(talks) -> None:
    plain, chat = read_text("demo"), read_text("chat:demo")
    assert plain.content == chat.content and plain.digest != chat.digest and chat.name == "chat:demo"
    assert [p.name for p, _ in read_text(f"chat:{talks}:2+demo").parts] == [f"chat:{talks}", "demo"]


def test_what_is_refused(loaded, talks) -> None:
    for name, sentence in (("chat:self", "chat template"), ("chat:chat:demo", "twice")):
        with pytest.raises(BadValue, match=sentence):
            read_text(name)
    with pytest.raises(TextNotFound, match="nowhere"):
        read_text("chat:nowhere")
    with pytest.raises(TextTooShort, match="chat:"):
        cut_windows(loaded.tokenizer, read_text(f"chat:{talks}"), 2, 100_000)
