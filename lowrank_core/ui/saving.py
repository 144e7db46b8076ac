"""Files made for one visitor: their text goes to the page, which keeps it; nothing is left on the server's disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import gradio as gr

KEEP = "(text) => text && window.keepText(JSON.parse(text))"


def file(name: str, text: str, kind: str = "text/plain") -> str:
    """What `saves` hands to the page: a file's name, text and media type."""
    return json.dumps({"name": name, "text": text, "kind": kind})


def saves(button: gr.Button, make: Callable[..., str], inputs: Sequence) -> None:
    """A click on the button saves what `make` gives, a `file(…)`; where that is empty, nothing happens."""
    box = gr.Textbox(visible="hidden", container=False)
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    button.click(make, list(inputs), box, **quiet).then(None, box, None, js=KEEP, **quiet)
