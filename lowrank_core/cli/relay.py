"""The edge of the command line: a job's progress as a bar on stderr, every failure as a sentence and an exit code."""

import sys
import traceback
from collections.abc import Callable
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text
from typer.exceptions import TyperException

from .. import jobs
from ..errors import LowRankError
from ..jobs import Job, Progress
from ..models.room import size

T = TypeVar("T")

FINE, OURS, THEIRS, STOPPED = 0, 1, 2, 130


def relay(job: Job[T]) -> T:
    """What the job returns; its progress is drawn on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        return jobs.finish(job)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        _Counted(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[item]}"),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task, stage = bars.add_task("", item="", unit=""), ""

        def draw(progress: Progress) -> None:
            nonlocal stage
            if progress.stage != stage:
                stage = progress.stage
                bars.reset(task, description=stage, total=progress.total)
            bars.update(task, completed=progress.done, total=progress.total, item=progress.item, unit=progress.unit)

        return jobs.finish(job, draw)


class _Counted(MofNCompleteColumn):
    """Steps done of steps, or bytes."""

    def render(self, task) -> Text:
        if task.fields["unit"] != "bytes":
            return super().render(task)
        return Text(f"{size(task.completed)} of {size(task.total or 0)}")


def edge(call: Callable[[], int | None], debug: bool = False) -> int:
    """The exit code of a command; its failures are said on stderr, with the traceback where `debug` asks for it."""
    try:
        code = call() or FINE
        return _stopped() if code == STOPPED else code  # typer turns Ctrl-C into this number
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except Exception as error:  # the one outer edge: whatever is of no known kind is our mistake
        if debug:
            traceback.print_exception(error)
        code, *sentences = _said_of(error)
    for sentence in filter(None, sentences):
        line = " ".join(sentence.split())
        note(line if line.endswith((".", "?", "!")) else line + ".")
    return code


def _said_of(error: Exception) -> tuple[int, str, str]:
    """The exit code, the sentence and the hint of a failure."""
    if isinstance(error, LowRankError):
        return THEIRS, error.message, error.hint
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        return THEIRS, error.format_message(), f"See {context.command_path} --help." if context else ""
    what = f"Something went wrong in this program: {type(error).__name__}: {str(error)[:300]}"
    return OURS, what, "Please report it; the same command with --debug shows where."


def note(line: str) -> None:
    """Say a line on stderr."""
    print(line, file=sys.stderr, flush=True)


def _stopped() -> int:
    note("Stopped; what was measured is kept.")
    return STOPPED
