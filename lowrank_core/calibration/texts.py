"""Named texts as data, and any UTF-8 file (no torch here)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import TextNotFound, TextNotUtf8, TextTooShort
from ..settings import TEXTS_FOLDER


@dataclass(frozen=True)
class TextSource:
    """A text that can be asked for by name."""

    label: str
    line: str
    file: str  # in assets/texts


TEXTS: dict[str, TextSource] = {
    "demo": TextSource(
        "Bundled, calibration", "the simple world, and text the bundled model wrote itself", "demo.calib.txt"
    ),
    "demo-test": TextSource("Bundled, held out", "the same kinds of text, other documents", "demo.test.txt"),
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


def read_text(name: str | Path) -> Text:
    """The Text behind a name of TEXTS or a path; TextNotFound, TextNotUtf8 or TextTooShort (empty) otherwise."""
    source = TEXTS.get(str(name))
    path = TEXTS_FOLDER / source.file if source else Path(name).expanduser()
    try:
        raw = path.read_bytes()
    except OSError:
        raise TextNotFound(f"There is no text {str(name)!r}.", f"Give a file, or one of {', '.join(TEXTS)}.") from None
    return text_of(raw, str(name))


def text_of(raw: bytes, name: str) -> Text:
    """The Text in these bytes; TextNotUtf8 or TextTooShort otherwise."""
    label = Path(name).name
    try:
        content = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextNotUtf8(
            f"{label!r} is not UTF-8 text (byte {error.start}).", "Save it as UTF-8, or choose another file."
        ) from None
    if not content.strip():
        raise TextTooShort(f"{label!r} is empty.", "Give a text of at least one window of tokens.")
    return Text(name, content, hashlib.sha256(raw).hexdigest()[:16])
