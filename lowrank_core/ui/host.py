"""What a visitor may ask of this host: everything on one's own machine, bounded things on a public one."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from ..calibration.texts import UPLOADED, is_named
from ..errors import BadValue, ModelNotFound, TextNotFound
from ..models.where import DEMO, hub_id
from ..settings import model_limit, resident_limit
from ..study.recipe import Recipe
from .words import size

UPLOAD_BYTES = 5_000_000


@dataclass(frozen=True)
class Host:
    """The limits of one start of the studio; None: no limit but the machine's own."""

    public: bool = False
    model_bytes: int | None = None  # weights of one model; None: what LOWRANK_MODEL_LIMIT says
    resident_bytes: int | None = None  # of all models in memory
    reply_tokens: int | None = None
    prompt_characters: int | None = None  # of a message and the chat before it
    calibration_tokens: int | None = None
    slice_seconds: float | None = None  # of the device, where others wait; None: jobs take turns step by step
    waiting: int | None = None  # events that may wait at once

    def check(self, recipe: Recipe) -> Recipe:
        """The recipe, where this host follows it; else the LowRankError that says why not."""
        self.check_model(recipe.model)
        self.check_text(recipe.text)
        tokens = recipe.windows * (recipe.window or 1)
        if self.calibration_tokens is not None and tokens > self.calibration_tokens:
            raise BadValue(
                f"This host reads at most {self.calibration_tokens:,} tokens to calibrate on, {tokens:,} were asked.",
                "Take fewer or shorter windows, or run the studio on your own machine.",
            )
        return recipe

    def check_model(self, name: str) -> None:
        """Nothing; ModelNotFound for a path on a public host, which loads the bundled model and hub ids only."""
        if not self.public or name == DEMO:
            return
        if ".." in name or hub_id(name) is None:
            raise ModelNotFound(f"This host loads no folders: {name!r} is no hub id.", "Give `demo`, or owner/name.")

    def check_text(self, name: str) -> None:
        """Nothing; TextNotFound for a path on a public host, but for a visitor's own upload."""
        if not self.public or is_named(name) or name.startswith(UPLOADED):
            return
        file = Path(name)
        if not _exists(name) or file.is_symlink() or not file.resolve().is_relative_to(_uploads().resolve()):
            raise TextNotFound("This host reads no files of its own.", "Upload a text, or choose a named one.")
        if file.stat().st_size > UPLOAD_BYTES:
            raise BadValue(f"The text has {size(file.stat().st_size)}, this host takes 5 MB.", "Upload a part of it.")

    def check_reply(self, tokens: float, *said: str) -> None:
        """Nothing; BadValue for a reply, or for a prompt, that is longer than this host writes or reads."""
        if self.reply_tokens is not None and not 1 <= tokens <= self.reply_tokens:
            raise BadValue(
                f"A reply has at most {self.reply_tokens} tokens here, {tokens:,.0f} were asked.", "Ask for fewer."
            )
        if self.prompt_characters is not None and sum(map(len, said)) > self.prompt_characters:
            raise BadValue(
                f"A chat has at most {self.prompt_characters:,} characters here.",
                "Clear it, or write something shorter.",
            )

    def check_export(self) -> None:
        """Nothing; BadValue on a public host, whose disk is not the visitor's."""
        if self.public:
            raise BadValue("This host writes no folders.", "Download the files, or run the studio on your machine.")


LOCAL = Host(resident_bytes=resident_limit())
PUBLIC = Host(
    public=True,
    model_bytes=model_limit() or 4 * 10**9,
    resident_bytes=resident_limit(),
    reply_tokens=400,
    prompt_characters=100_000,
    calibration_tokens=2**19,
    slice_seconds=15.0,
    waiting=64,
)


def host_here(public: bool = False) -> Host:
    """The Host of this start: public where it is asked for, and on Hugging Face Spaces."""
    return PUBLIC if public or on_spaces() else LOCAL


def on_spaces() -> bool:
    return bool(os.environ.get("SPACE_ID"))


def login_offered() -> bool:
    """Whether visitors can sign in to the Hub: on a Space whose README asks for it (`hf_oauth`)."""
    libraries = all(importlib.util.find_spec(name) for name in ("authlib", "itsdangerous"))  # Spaces install them
    return on_spaces() and bool(os.environ.get("OAUTH_CLIENT_ID")) and libraries


def listen_at() -> str:
    """Where to listen when nobody says: on Spaces for the proxy in front, elsewhere on this machine alone."""
    return os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if on_spaces() else "127.0.0.1")


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def _uploads() -> Path:
    from gradio.utils import get_upload_folder

    return Path(get_upload_folder())
