"""`evaluate`: the perplexity of a model on texts."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..calibration.texts import Text, read_text
from ..jobs import Job
from ..settings import EVALUATION_WINDOWS, SEED
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


def evaluate(
    model: ModelOrDir,
    text: Texts,
    json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    seed: Seed = SEED,
    windows: Windows = EVALUATION_WINDOWS,
    window: Window = None,
) -> None:
    """Perplexity per text, over disjoint windows from its start; whatever the seed, nothing is drawn here."""
    texts = [read_text(name) for name in dict.fromkeys(text)]
    bench = open_bench(
        recipe_from({"model": model, "text": texts[0].name, "window": window, "seed": seed}), device, dtype
    )
    found = {
        "model": bench.loaded.name,
        "dtype": bench.loaded.dtype,
        "device": bench.loaded.device.type,
        "results": relay(_measure(bench, texts, windows)),
    }
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
    table(found["model"], columns, rows, f"Measured in {found['dtype']} on {found['device']}")
