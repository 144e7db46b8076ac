"""Two chats as a file: JSON that holds everything, or Markdown to read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Messages = Sequence[Mapping[str, str]]


def as_json(sides: Sequence[tuple[str, Mapping[str, Any] | None, Messages]], settings: Mapping[str, Any]) -> str:
    """One JSON object: the settings, and of each side its label, recipe (null: dense) and messages."""
    named = [
        {"label": label, "recipe": recipe, "messages": [dict(m) for m in messages]} for label, recipe, messages in sides
    ]
    return json.dumps({"settings": dict(settings), "sides": named}, indent=1, ensure_ascii=False)


def as_markdown(
    sides: Sequence[tuple[str, Mapping[str, Any] | None, Messages]], settings: Mapping[str, Any], recipe_yaml: str
) -> str:
    """The chats turn by turn, the settings in a line, and the recipe of what is compressed at the end."""
    said = "; ".join(f"{k}: {v}" for k, v in settings.items())
    lines = ["# " + " against ".join(label for label, _, _ in sides), "", said, ""]
    turns = [[m for m in messages if m["role"] != "system"] for _, _, messages in sides]
    for i in range(max(map(len, turns), default=0)):
        rows = [(label, t[i]) for (label, _, _), t in zip(sides, turns, strict=True) if i < len(t)]
        if all(m["role"] == "user" and m["content"] == rows[0][1]["content"] for _, m in rows):
            rows = [("You", rows[0][1])]
        for label, m in rows:
            lines += [f"**{label}**", "", *(f"> {line}" for line in m["content"].splitlines() or [""]), ""]
    return "\n".join([*lines, *(["```yaml", recipe_yaml.strip(), "```", ""] if recipe_yaml else [])])
