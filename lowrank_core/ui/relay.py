"""The one edge of the studio where failures are caught: each becomes a lasting line on the page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import TypeVar

from ..errors import LowRankError
from .words import error_line

T = TypeVar("T")
log = logging.getLogger("lowrank_core.ui")


def explain(error: Exception) -> str:
    """What a failure says on the page: its sentence and hint, or for one of ours that the log has the trace."""
    if isinstance(error, LowRankError):
        return error_line(error.message, error.hint)
    if type(error).__name__ == "OutOfMemoryError":  # torch's own, which is not imported for its name
        return error_line("The device has no room for this.", "Take a smaller model, or close what else runs there.")
    log.exception("a handler failed", exc_info=error)
    return error_line("The studio failed at this, not you.", f"It says: {type(error).__name__}; the log has the trace.")


def guarded(steps: Generator[T, None, None], say: Callable[[str], T]) -> Generator[T, None, None]:
    """The steps, and where they fail one more that says why."""
    try:
        yield from steps
    except Exception as error:
        yield say(explain(error))
