"""`cache ls` and `cache clear`: look after the store of results."""

from typing import Annotated

import typer

from ..errors import BadValue
from ..store import VERSIONS
from ..study.read import open_store
from .options import Json, complete
from .output import emit, table

app = typer.Typer(help="Look after the store of measured results.")

Kind = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help=f"Only one kind: {', '.join(VERSIONS)}.",
        autocompletion=complete(VERSIONS),
        show_default=False,
    ),
]


@app.command("ls")
def ls(json: Json = False) -> None:
    """What the store holds: kind by kind, how many results and bytes."""
    store = open_store()
    kinds = [{"kind": k, "artefacts": n, "bytes": size} for k, n, size in store.entries()]
    emit({"folder": str(store.folder), "kinds": kinds, "bytes": sum(k["bytes"] for k in kinds)}, json, _show)


@app.command("clear")
def clear(kind: Kind = None, json: Json = False) -> None:
    """Remove the stored results of one kind, or all: they are measured again when they are needed."""
    if kind is not None and kind not in VERSIONS:
        raise BadValue(f"There is no kind {kind!r}.", f"Choose one of {', '.join(VERSIONS)}.")
    store = open_store()
    freed = store.clear(kind)
    emit(
        {"folder": str(store.folder), "kind": kind, "bytes_freed": freed},
        json,
        lambda found: print(f"{freed:,} bytes set free in {store.folder}"),
    )


def _show(found: dict) -> None:
    rows = [(k["kind"], k["artefacts"], k["bytes"]) for k in found["kinds"]]
    table(found["folder"], ("kind", "results", "bytes"), rows, f"{found['bytes']:,} bytes in all")
