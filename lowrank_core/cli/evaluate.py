"""`evaluate`: the perplexity of a model on texts, and its scores on tasks."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..calibration.texts import Text, read_text
from ..errors import BadValue
from ..evaluation.harness import check_tasks
from ..jobs import Job
from ..settings import EVALUATION_WINDOWS, SEED
from ..study.recipe import Recipe
from .opening import open_bench, recipe_from
from .options import NAMED, Device, Dtype, Json, ModelOrDir, Seed, Window, Windows, complete_text
from .output import emit, table
from .relay import relay

if TYPE_CHECKING:
    from ..study.build import Workbench

BOS = ", BOS in front"  # of every window, where the family needs it
Texts = Annotated[
    list[str],
    typer.Option("--text", metavar="TEXT…", help=f"Texts: {NAMED}.", autocompletion=complete_text, show_default=False),
]


Tasks = Annotated[
    list[str],
    typer.Option(
        metavar="TASK…",
        help="Tasks of lm-evaluation-harness, by name or as YAML files; needs `pip install '.[eval]'`.",
        show_default=False,
    ),
]
Limit = Annotated[
    int, typer.Option(min=1, metavar="N", help="Of each task, the first N samples only.", show_default=False)
]
FewShot = Annotated[
    int,
    typer.Option(
        min=0, metavar="N", help="Examples in a task's prompt; by default the task's own.", show_default=False
    ),
]


def evaluate(
    model: ModelOrDir,
    text: Texts = None,
    tasks: Tasks = None,
    limit: Limit = None,
    few_shot: FewShot = None,
    json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    seed: Seed = SEED,
    windows: Windows = EVALUATION_WINDOWS,
    window: Window = None,
) -> None:
    """Perplexity per text, over disjoint windows from its start, and scores per task of lm-evaluation-harness.

    Whatever the seed, no window is drawn here; it is the harness's.
    """
    if not text and not tasks:
        raise BadValue("There is nothing to evaluate on.", "Give --text TEXT, or --tasks TASK.")
    if tasks:
        check_tasks(tasks)
    texts = [read_text(name) for name in dict.fromkeys(text or ())]
    named = texts[0].name if texts else Recipe.model_fields["text"].default
    bench = open_bench(recipe_from({"model": model, "text": named, "window": window, "seed": seed}), device, dtype)
    found = {
        "model": bench.loaded.name,
        "dtype": bench.loaded.dtype,
        "device": bench.loaded.device.type,
        "results": relay(_measure(bench, texts, windows)),
    }
    if tasks:
        from ..evaluation.harness import run_tasks

        found["tasks"] = [asdict(r) for r in relay(run_tasks.steps(bench.loaded, tasks, limit, few_shot, seed))]
    emit(found, json, _show)


def _measure(bench: "Workbench", texts: list[Text], windows: int) -> Job[list[dict[str, Any]]]:
    from ..study.compress import evaluate as measure

    found = []
    for text in texts:
        measured = yield from measure.steps(bench, text, windows=windows)
        found.append(record(text.name, measured))
    return found


def record(name: str, measured) -> dict[str, Any]:
    """A Measurement under the text's name of today: the stored one may have been asked for by another."""
    return {
        "text": name,
        "perplexity": measured.perplexity,
        "nll": measured.nll,
        "tokens": measured.tokens,
        "windows": measured.setting.windows,
        "window": measured.setting.window,
        "bos": measured.setting.bos,
    }


def _show(found: dict) -> None:
    rows = [
        [r["text"], r["perplexity"], r["nll"], r["tokens"], f"{r['windows']} × {r['window']}{BOS if r['bos'] else ''}"]
        for r in found["results"]
    ]
    columns = ("text", "perplexity", "nll, nats per token", "scored tokens", "windows × tokens")
    how = f"Measured in {found['dtype']} on {found['device']}"
    if rows:
        table(found["model"], columns, rows, how)
    for task in found.get("tasks", ()):
        scored = [(name, value) for name, value in task["metrics"].items()]
        caption = f"{how}, {task['samples']} samples, {task['few_shot']} examples in the prompt"
        table(f"{found['model']} on {task['task']}", ("metric", "value"), scored, caption)
