"""Named texts as data, any UTF-8 file, and mixes of them (no torch here).

A name is one of TEXTS, a file, `chat:` before either, or several with weights: `demo:2+chat:wikitext-sample:1`.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import BadValue, TextNotFound, TextNotUtf8, TextTooShort
from ..settings import TEXTS_FOLDER
from .hub import HUB_TEXTS, HubText, read_hub
from .names import PLUS, split_mix

CHAT = "chat:"
SELF = "self"
UPLOADED = "upload:"  # before the digest of a text that only the owner of a link has


@dataclass(frozen=True)
class TextSource:
    """A text that can be asked for by name."""

    label: str
    line: str
    file: str = ""  # in assets/texts
    hub: HubText | None = None  # fetched when it is asked for; neither: the model writes it


TEXTS: dict[str, TextSource] = {
    "demo": TextSource(
        "Bundled, calibration", "the simple world, and text the bundled model wrote itself", "demo.calib.txt"
    ),
    "demo-test": TextSource("Bundled, held out", "the same kinds of text, other documents", "demo.test.txt"),
    SELF: TextSource("The model's own", "text the model writes itself, word by word, as likely as it finds each"),
    "wikitext-sample": TextSource("Encyclopedia sample", "original articles in WikiText's form", "wikitext.sample.txt"),
    "ptb-sample": TextSource("Newswire sample", "original business news in Penn Treebank's form", "ptb.sample.txt"),
    "c4-sample": TextSource("Web sample", "original web pages of many kinds", "c4.sample.txt"),
    "snips-sample": TextSource("Voice command sample", "original utterances to a voice assistant", "snips.sample.txt"),
    "alpacaeval-sample": TextSource(
        "Instruction sample", "original instructions with answers", "alpacaeval.sample.txt"
    ),
    "mctest-sample": TextSource(
        "Reading test sample", "original children's stories with questions", "mctest.sample.txt"
    ),
    "cmrc-sample": TextSource("Chinese sample", "original Chinese passages with questions", "cmrc.sample.txt"),
    "instruct-ja-sample": TextSource("Japanese sample", "original Japanese instructions", "instruct_ja.sample.txt"),
    "wikitext2": TextSource("WikiText-2 (Hub)", "encyclopedia articles, test half", hub=HUB_TEXTS["wikitext2"]),
    "ptb": TextSource("Penn Treebank (Hub)", "business news of 1989, test half", hub=HUB_TEXTS["ptb"]),
    "c4": TextSource("C4 (Hub)", "web pages, validation half", hub=HUB_TEXTS["c4"]),
    "snips": TextSource("SNIPS (Hub)", "utterances to a voice assistant", hub=HUB_TEXTS["snips"]),
    "alpacaeval": TextSource("AlpacaEval (Hub)", "a hundred instructions with answers", hub=HUB_TEXTS["alpacaeval"]),
    "mctest": TextSource("MCTest (Hub)", "children's stories with questions", hub=HUB_TEXTS["mctest"]),
    "cmrc": TextSource("CMRC 2018 (Hub)", "Chinese passages with questions", hub=HUB_TEXTS["cmrc"]),
    "instruct-ja": TextSource("Dolly 15k (Hub)", "instructions in Japanese", hub=HUB_TEXTS["instruct-ja"]),
}


@dataclass(frozen=True)
class Text:
    """A text, the name it was asked by, and the hash that stands for it in keys and links."""

    name: str
    content: str
    digest: str

    @property
    def label(self) -> str:
        """The name without folders: what captions and stored settings say, so that no path leaves this machine."""
        return Path(self.name).name


@dataclass(frozen=True)
class ChatText(Text):
    """A text whose windows are cut from its conversations in the model's chat template."""

    @property
    def label(self) -> str:
        return CHAT + Path(self.name.removeprefix(CHAT)).name


@dataclass(frozen=True)
class OwnText(Text):
    """What a model writes itself: a name until a study settles it, and then token ids rather than content."""

    ids: np.ndarray | None = field(default=None, compare=False, repr=False)  # (N, T), once written


@dataclass(frozen=True)
class Mix(Text):
    """Several texts; each gives windows in proportion to its weight. The content is in the parts."""

    parts: tuple[tuple[Text, float], ...]  # weights that sum to 1

    @property
    def label(self) -> str:
        return PLUS.join(f"{part.label}:{weight:.3g}" for part, weight in self.parts)


def read_text(name: str | Path) -> Text:
    """The Text behind a name; TextNotFound, TextNotFetched, TextNotUtf8, TextTooShort (empty) or BadValue otherwise.

    A name that is a file as a whole is that file, whatever it holds.
    """
    name = str(name)
    if name.startswith(UPLOADED):
        raise TextNotFound(
            f"The calibration text of this recipe is not here, only its hash {name.removeprefix(UPLOADED)[:16]!r}.",
            "Upload the same file as the calibration text, or choose another text.",
        )
    if _known(name):
        return _single(name)
    parts = split_mix(name, _known)
    if not any(_known(part) for part, _ in parts):
        return _single(name)  # says that there is none
    if len(parts) == 1:
        return _single(parts[0][0])
    texts = [(_single(part), weight) for part, weight in parts]
    if len({text.digest for text, _ in texts}) < len(texts):
        raise BadValue(f"The mix {name!r} has the same text twice.", "Name it once, with a larger weight.")
    return _mix(name, texts)


def settled(text: Text, digest: str, ids: np.ndarray | None = None) -> Text:
    """The text with what the model writes in it known by this digest, and by its ids (N, T) where they are there."""
    if isinstance(text, OwnText):
        return replace(text, digest=digest, ids=ids)
    if isinstance(text, Mix):
        return _mix(text.name, [(settled(part, digest, ids), weight) for part, weight in text.parts])
    return text


def is_own(text: Text) -> bool:
    """Whether the model writes any of it."""
    return isinstance(text, OwnText) or (isinstance(text, Mix) and any(is_own(part) for part, _ in text.parts))


def is_named(name: str) -> bool:
    """Whether a name means the same text everywhere: one of TEXTS, in the chat template or not, or a mix of them."""
    known = lambda part: part.removeprefix(CHAT) in TEXTS  # noqa: E731
    return all(known(part) for part, _ in split_mix(name, known))


def text_of(raw: bytes, name: str) -> Text:
    """The Text in these bytes; TextNotUtf8 or TextTooShort otherwise."""
    label = Path(name).name
    try:
        content = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextNotUtf8(
            f"{label!r} is not UTF-8 text (byte {error.start}).", "Save it as UTF-8, or choose another file."
        ) from None
    if "\0" in content:
        raise TextNotUtf8(f"{label!r} holds null bytes: it is no text.", "Choose another file.")
    if not content.strip():
        raise TextTooShort(f"{label!r} is empty.", "Give a text of at least one window of tokens.")
    return Text(name, content, hashlib.sha256(raw).hexdigest()[:16])


def _known(name: str) -> bool:
    """Whether a name stands for one text as it is."""
    if name in TEXTS or _is_file(name):
        return True
    return name.startswith(CHAT) and _known(name.removeprefix(CHAT))


def _is_file(name: str) -> bool:
    try:
        return bool(name) and Path(name).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # too long a name, ~nobody, a null byte
        return False


def _single(name: str) -> Text:
    """One text by its name in TEXTS, its path, or either after chat:."""
    source = TEXTS.get(name)
    if source is None and name.startswith(CHAT) and not _is_file(name):
        return _chat(name)
    if source and source.hub:
        return text_of(read_hub(name, source.hub), name)
    if source and not source.file:
        return OwnText(name, "", _hash("own"))
    try:
        raw = (TEXTS_FOLDER / source.file if source else Path(name).expanduser()).read_bytes()
    except (OSError, RuntimeError, ValueError):
        raise TextNotFound(f"There is no text {name!r}.", f"Give a file, or one of {', '.join(TEXTS)}.") from None
    return text_of(raw, name)


def _chat(name: str) -> ChatText:
    inner = _single(name.removeprefix(CHAT))
    if isinstance(inner, OwnText):
        raise BadValue("What the model writes itself is not put into its chat template.", "Take self without chat:.")
    if isinstance(inner, ChatText):
        raise BadValue(f"{name!r} asks for the chat template twice.", f"Take {inner.name}.")
    return ChatText(name, inner.content, _hash("chat", inner.digest))


def _mix(name: str, texts: list[tuple[Text, float]]) -> Mix:
    total = sum(weight for _, weight in texts)
    parts = tuple((text, weight / total) for text, weight in texts)
    return Mix(name, "", _hash("mix", *([text.digest, weight] for text, weight in parts)), parts)


def _hash(*words: object) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]
