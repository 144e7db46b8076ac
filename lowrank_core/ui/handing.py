"""Files that are too large for a message: handed to the page, which holds them a while, and forgotten here."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

import gradio as gr

from .relay import guarded


def over(steps: Generator) -> Generator[list, None, None]:
    """Values of (file, status) for steps of (path or None, status); a path's folder goes when the page has its copy."""
    for path, status in guarded(steps, lambda line: (None, line)):
        if path is None:
            yield [gr.skip(), status]
            continue
        try:
            yield [gr.File(value=path, visible=True), status]
        finally:
            shutil.rmtree(Path(path).parent, ignore_errors=True)
