"""What a start can do without: gradio's type stubs for editors, and looking for garbage among what is all kept."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from contextlib import contextmanager

OURS = ("gradio.", __name__.partition(".")[0] + ".")


@contextmanager
def without_stubs() -> Iterator[None]:
    """Components that are defined inside get no stub file: 0.7 of the 2.0 s that importing gradio took on two cores.

    gradio makes none for a class that has no file, such as one typed into a notebook: theirs are not found meanwhile.
    """
    found = inspect.getfile

    def getfile(what):
        if isinstance(what, type) and what.__module__.startswith(OURS):
            raise OSError("no stub is wanted")
        return found(what)

    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = found


@contextmanager
def without_collecting() -> Iterator[None]:
    """No garbage collection inside: modules and the page are kept anyway, and going through them took 0.5 s."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
