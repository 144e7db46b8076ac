"""Texts as conversations, and conversations in a model's own chat template (no torch here)."""

import json
import re
from typing import TYPE_CHECKING

from ..errors import BadValue

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Conversation = list[dict[str, str]]
FORM = 'Each line of such a file is {"messages": [{"role": "user", "content": "…"}, …]}.'


def conversations(content: str, name: str) -> list[Conversation]:
    """The conversations in a text.

    JSON lines of {"messages": [...]} are what they say; BadValue names the first line that is not. Any other text has
    paragraphs, separated by blank lines: each is what the assistant answers to an empty question. So the model reads
    them where its own answers stand, and no word of a question is counted once per paragraph.
    """
    lines = [(n, line) for n, line in enumerate(content.split("\n"), 1) if line.strip()]
    if lines and _messages(lines[0][1]) is not None:
        found = [(n, _messages(line)) for n, line in lines]
        for n, messages in found:
            if not _is_conversation(messages):
                raise BadValue(f"Line {n} of {name!r} is no conversation.", FORM)
        return [messages for _, messages in found]
    paragraphs = [p.strip() for p in re.split(r"\n\s*\n", content)]
    return [[{"role": "user", "content": ""}, {"role": "assistant", "content": p}] for p in paragraphs if p]


def rendered(tokenizer: "PreTrainedTokenizerBase", content: str, name: str) -> list[int]:
    """The token ids of a text's conversations, one after the other, each as the chat template writes it.

    BadValue where the model has no template, or its template refuses a conversation.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise BadValue("This model has no chat template.", f"Take the text without chat:, as {name!r}.")
    ids: list[int] = []
    for n, messages in enumerate(conversations(content, name), 1):
        try:
            text = tokenizer.apply_chat_template(messages, tokenize=False)
        except TemplateError as error:
            raise BadValue(
                f"The model's chat template refuses conversation {n} of {name!r}: {error}.", "Change its messages."
            ) from error
        ids += tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return ids


def _messages(line: str) -> object:
    """What a line holds under `messages`; None where it is no JSON object, or has none."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value.get("messages") if isinstance(value, dict) else None


def _is_conversation(messages: object) -> bool:
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(
            isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
            for m in messages
        )
    )
