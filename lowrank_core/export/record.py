"""What a saved folder knows about itself, lowrank.json: its card is written from this (no torch here)."""

import json
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from ..errors import BadValue
from ..types import Measurement
from .card import HUB_ID, Sizes, card

RECORD = "lowrank.json"  # marks a folder as ours and lists its files, so that it may be replaced
CARD = "README.md"
LICENCE_FIELDS = ("license", "license_name", "license_link")
LICENCE_FILES = ("licen[cs]e*", "notice*", "use_policy*", "copying*")  # what most licences ask to be handed on


@dataclass(frozen=True)
class Record:
    """How a folder's model was made and what was measured of it."""

    storage: str
    base: str  # the dense model's name as it was asked for
    ranks: Mapping[str, int | None]  # path → rank of every site
    recipe: Mapping[str, Any]
    sizes: Sizes
    files: tuple[str, ...]  # everything that the program wrote
    measurements: tuple[Mapping[str, Any], ...] = ()
    licence: Mapping[str, str] | None = None  # the base model's, as the front matter of its card has it
    notes: Mapping[str, str] | None = None  # path → what stands beside its rank

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    def card(self, name: str) -> str:
        """The folder's model card under a name."""
        return card(
            name,
            self.base,
            self.ranks,
            self.recipe,
            self.sizes,
            self.storage,
            self.measurements,
            self.notes,
            self.licence,
        )

    def without_paths(self) -> "Record":
        """The same with folders taken off the names of local models and texts: what may leave this machine."""
        recipe = {k: _name_only(v) if k in ("model", "text") else v for k, v in self.recipe.items()}
        return replace(self, base=_name_only(self.base), recipe=recipe)


def row(model: str, found: Measurement) -> dict[str, Any]:
    """A Measurement with its setting, as the Record and the card take it; `model`: "dense" or "compressed"."""
    figures = {"perplexity": found.perplexity, "nll": found.nll, "tokens": found.tokens}
    return {"model": model, **figures, **asdict(found.setting)}


def read_record(folder: Path | str) -> Record:
    """The Record of a folder that `save` wrote; BadValue for any other."""
    try:
        found = json.loads((Path(folder).expanduser() / RECORD).read_text("utf-8"))
        found |= {"sizes": Sizes(**found["sizes"])}
        found |= {name: tuple(found[name]) for name in ("files", "measurements")}
        return Record(**found)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        raise BadValue(
            f"{str(folder)!r} is no folder with a compressed model.", "Give one that `compress --out` wrote."
        ) from None


def add_measurements(folder: Path | str, measurements: Iterable[Mapping[str, Any]]) -> Record:
    """The folder's Record with these measurements in place of the earlier ones; its files say so, too.

    Each is of one model on one text, with the setting it was measured in.
    """
    record = replace(read_record(folder), measurements=tuple(measurements))
    target = Path(folder).expanduser()
    for name, text in ((RECORD, record.to_json()), (CARD, record.card(target.resolve().name))):
        fresh = target / f".{uuid.uuid4().hex}.part"
        try:
            fresh.write_text(text, "utf-8")
            os.replace(fresh, target / name)
        except OSError as error:
            raise BadValue(f"{str(folder)!r} cannot be written: {error}.", "Is it yours?") from error
        finally:
            fresh.unlink(missing_ok=True)
    return record


def licence_of(folder: Path) -> dict[str, str]:
    """The licence fields in the front matter of a model folder's README.md; {} where it has none."""
    try:
        head, _, rest = (folder / CARD).read_text("utf-8").partition("---\n")
        found = yaml.safe_load(rest.partition("\n---")[0]) if not head.strip() else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return {k: str(found[k]) for k in LICENCE_FIELDS if found.get(k)} if isinstance(found, dict) else {}


def licence_files(folder: Path) -> list[Path]:
    """The licence and notice files of a model folder."""
    files = (f for f in sorted(folder.iterdir()) if f.is_file())
    return [f for f in files if any(fnmatch(f.name.lower(), pattern) for pattern in LICENCE_FILES)]


def _name_only(name: Any) -> Any:
    """A hub id or a named text as it is, a path without its folders."""
    return name if not isinstance(name, str) or HUB_ID.fullmatch(name) and not Path(name).exists() else Path(name).name
