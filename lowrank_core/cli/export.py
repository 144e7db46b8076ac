"""`export`: a compressed folder to the Hub, as an ordinary dense checkpoint, with its recipe and measurements."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..calibration.texts import read_text
from ..errors import LowRankError
from ..export.record import Record, add_measurements, read_record, row
from ..jobs import Job
from ..models.where import locate
from ..settings import EVALUATION_WINDOWS
from ..study import spelling
from ..study.recipe import recipe_of
from .opening import open_bench, open_model, recipe_from
from .options import NAMED, Device, Dtype, Json, Window, complete_text
from .output import emit
from .relay import note, relay

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that compress --out wrote.", show_default=False)]
ToHub = Annotated[
    str,
    typer.Option(
        "--hub",
        metavar="OWNER/NAME",
        help="Upload it as a new repository, private; one that exists is never touched. The token is HF_TOKEN's, or "
        "that of `hf auth login`.",
        show_default=False,
    ),
]
Public = Annotated[bool, typer.Option("--public", help="Make the new repository public.")]
Merged = Annotated[
    Path,
    typer.Option(
        metavar="OUT",
        help="Write an ordinary dense checkpoint, for engines that do not know this format (vLLM, llama.cpp, Ollama). "
        "It is as large as the base model: no bytes are saved.",
        show_default=False,
    ),
]
Texts = Annotated[
    list[str],
    typer.Option(
        "--text",
        metavar="TEXT…",
        help=f"Measure the perplexity first, and put it in the folder's card: {NAMED}.",
        autocompletion=complete_text,
        show_default=False,
    ),
]
TestWindows = Annotated[int, typer.Option("--windows", min=1, metavar="N", help="Windows read from each text.")]


def export(
    folder: Folder,
    hub: ToHub = None,
    public: Public = False,
    merged: Merged = None,
    text: Texts = None,
    windows: TestWindows = EVALUATION_WINDOWS,
    window: Window = None,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Ship a compressed folder: measure it, write it merged, push it to the Hub; its recipe is shown in any case."""
    record = read_record(folder)
    for name in text or ():
        read_text(name)
    if text:
        measured = _measure(folder, record, list(dict.fromkeys(text)), windows, window, device, dtype)
        record = add_measurements(folder, measured)
    found: dict[str, Any] = {
        "folder": str(folder),
        "base": record.base,
        "storage": record.storage,
        "bytes": sum((folder / name).stat().st_size for name in record.files),
        "measurements": list(record.measurements),
        "recipe": _recipe(record.recipe),
        "merged": None if merged is None else _merge(folder, record, merged),
        "hub": None,
    }
    if hub is not None:
        from ..export.hub import push

        found["hub"] = asdict(relay(push.steps(folder, hub, private=not public)))
    emit(found, json, _show)


def _measure(
    folder: Path, record: Record, texts: list[str], windows: int, window: int | None, *how: str | None
) -> list[dict[str, Any]]:
    """Rows of the compressed model and, where it is at hand, of the dense one it was made from."""
    models = {"compressed": str(folder)}
    try:
        models = {"dense": locate(record.base).name, **models}
    except LowRankError:
        note(f"The base model {record.base!r} is not here: only the compressed one is measured.")
    rows = []
    for which, name in models.items():
        bench = open_bench(recipe_from({"model": name, "text": texts[0], "window": window}), *how)
        for measured in relay(_evaluate(bench, texts, windows)):
            rows.append(row(which, measured))
    return rows


def _evaluate(bench, texts: list[str], windows: int) -> Job[list]:
    from ..study.compress import evaluate

    found = []
    for name in texts:
        found.append((yield from evaluate.steps(bench, read_text(name), windows=windows)))
    return found


def _merge(folder: Path, record: Record, out: Path) -> dict[str, Any]:
    """Write the dense checkpoint; what it weighs, and that it saves nothing."""
    from ..export.save import save

    loaded = open_model(str(folder), None, None)
    base = folder  # its licence files came from the base
    written = save(loaded.model, loaded.tokenizer, out, record.ranks, record.recipe, record.base, "merged",
                   record.measurements, base_folder=base)  # fmt: skip
    return {"folder": str(out), "bytes": written, "bytes_saved": 0}


def _recipe(recipe: Mapping[str, Any]) -> dict[str, str]:
    """The folder's recipe in all its spellings; none where it was saved without one."""
    try:
        known = recipe_of(dict(recipe))
    except LowRankError:
        return {}
    spelt = {
        "yaml": spelling.to_yaml(known),
        "command": spelling.to_command(known),
        "python": spelling.to_python(known),
    }
    try:
        return {**spelt, "query": spelling.to_query(known)}
    except LowRankError:  # its text is not here any more, and its hash with it
        return spelt


def _show(found: dict[str, Any]) -> None:
    print(f"{found['folder']}: {found['storage']}, {found['bytes']:,} bytes, from {found['base']}.")
    for measured in found["measurements"]:
        setting = f"{measured['windows']} × {measured['window']} tokens, {measured['dtype']} on {measured['device']}"
        print(f"{measured['model']}: perplexity {measured['perplexity']:.4f} on {measured['text']} ({setting}).")
    if found["recipe"]:
        print(f"Made by: {found['recipe']['command']}")
    if found["merged"]:
        print(f"Merged into {found['merged']['folder']}: {found['merged']['bytes']:,} bytes. Merged saves no bytes.")
    if found["hub"]:
        kind = "private" if found["hub"]["private"] else "public"
        print(f"Pushed to {found['hub']['url']} ({kind}): {found['hub']['bytes']:,} bytes.")
