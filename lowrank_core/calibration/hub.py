"""Data sets on the Hub as texts: rows of data, and the way from a row to a file in the cache (no torch here).

Nothing is fetched before such a text is asked for by name: `datasets` is imported then, and only then. What was
fetched is a UTF-8 file in the cache folder, and the network is not asked again.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import TextNotFetched
from ..settings import HUB_TEXT_BYTES, cache_folder

PARQUET = "refs/convert/parquet"  # the Hub's own conversion: a branch, which the Hub may write anew


@dataclass(frozen=True)
class HubText:
    """Which parquet files of a data set are read, and how a row of them becomes text."""

    id: str
    revision: str  # a full commit hash, or PARQUET where none is known to hold parquet files
    subset: str
    split: str
    columns: tuple[str, ...]  # of a document, a line each; `answers.text` is a field of a column, its first value
    licence: str  # as the data set's card has it
    sample: str  # the text of the same kind that is here without a network
    heading: str = ""  # a column that stands above the rows that share it, once
    between: str = "\n\n"  # documents: for language modelling sets the usual join, which perplexities are quoted for
    files: str = "{subset}/{split}/*.parquet"  # where the Hub's own conversion puts them
    replaced: tuple[tuple[str, str], ...] = ()

    @property
    def pattern(self) -> str:
        """The files as `datasets` takes them."""
        files = self.files.format(subset=self.subset, split=self.split)
        return f"hf://datasets/{self.id}@{quote(self.revision, safe='')}/{files}"

    def cached(self, key: str) -> Path:
        """The file in the cache; its name holds the hash of everything that decides its content."""
        decided = {k: v for k, v in asdict(self).items() if k not in ("licence", "sample")}
        text = json.dumps([decided, HUB_TEXT_BYTES], sort_keys=True)
        return cache_folder() / "texts" / f"{key}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.txt"


def read_hub(key: str, source: HubText) -> bytes:
    """The text of a data set: from the cache, or else fetched into it. TextNotFetched where that fails."""
    path = source.cached(key)
    try:
        return path.read_bytes()
    except OSError:
        raw = fetch(key, source)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        fresh.write_bytes(raw)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    return raw


def fetch(key: str, source: HubText) -> bytes:
    """The first documents of a data set, about HUB_TEXT_BYTES of them, streamed no further than that.

    TextNotFetched without a network, and for a data set that is not there or not as its row says.
    """
    hint = f"Take {source.sample}, which needs no network, or give a UTF-8 file."
    try:
        from datasets import config, load_dataset

        if config.HF_HUB_OFFLINE:
            raise ConnectionError("offline mode is on, as HF_HUB_OFFLINE or another variable has it")
        # the parquet reader by name: it runs no code of the data set and reads no file of any other kind
        rows = load_dataset(
            "parquet",
            data_files={"rows": source.pattern},  # not the split's name: `datasets` takes no partial-validation
            split="rows",
            streaming=True,
            columns=sorted({c.split(".")[0] for c in (source.heading, *source.columns) if c}),
        )
        raw = gather(source, rows, HUB_TEXT_BYTES)
        if not raw.strip():
            raise ValueError("it holds no text")
    except Exception as error:  # of several libraries, and of others with each version of them; none is swallowed
        reason = (str(error) or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise TextNotFetched(f"{key!r} cannot be fetched from the Hub ({source.id}): {reason}.", hint) from error
    return raw


def gather(source: HubText, rows: Iterable[Mapping[str, Any]], limit: int) -> bytes:
    """The documents of the rows, joined as UTF-8, whole ones, until there are `limit` bytes."""
    pieces, size = [], 0
    for document in documents(source, rows):
        pieces.append(document)
        size += len((document + source.between).encode())
        if size >= limit:
            break
    return source.between.join(pieces).encode()


def documents(source: HubText, rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The text of each row; of a single column just what it holds, empty rows too."""
    above = None
    for row in rows:
        lines = [_value(row, c) for c in source.columns]
        if source.heading and (heading := _value(row, source.heading)) != above:
            above = heading
            lines.insert(0, heading)
        text = lines[0] if len(source.columns) == 1 else "\n".join(line for line in lines if line)
        for old, new in source.replaced:
            text = text.replace(old, new)
        yield text


def _value(row: Mapping[str, Any], column: str) -> str:
    """A column, or a field of it; of a list its first value."""
    found: Any = row
    for name in column.split("."):
        if name not in found:
            raise ValueError(f"it has no column {column}")
        found = found[name]
    if isinstance(found, list):
        found = found[0] if found else ""
    return "" if found is None else str(found)


# The eight kinds of text of the NSVD paper (arXiv 2503.17101, section 4). Identifiers, columns and commits were looked
# up in stored copies of the Hub's pages and in public code, not on the live Hub. Where no commit with parquet files
# could be confirmed, the revision is the Hub's own conversion, whose content is not pinned: what was fetched stays in
# the cache, and results are named by the hash of the text itself.
HUB_TEXTS: dict[str, HubText] = {
    "wikitext2": HubText(
        id="Salesforce/wikitext",
        revision="b08601e04326c79dfdd32d625aee71d232d685c3",
        subset="wikitext-2-raw-v1",
        split="test",
        files="{subset}/{split}-*.parquet",
        columns=("text",),
        licence="CC BY-SA 3.0 and GFDL",
        sample="wikitext-sample",
    ),
    "ptb": HubText(  # main holds a script; the folder of the conversion was seen, its commit was not
        id="ptb-text-only/ptb_text_only",
        revision=PARQUET,
        subset="penn_treebank",
        split="test",
        columns=("sentence",),
        licence="LDC User Agreement for Non-Members",
        sample="ptb-sample",
    ),
    "c4": HubText(  # main holds compressed JSON; the folder of the conversion was seen, its commit was not
        id="allenai/c4",
        revision=PARQUET,
        subset="en",
        split="partial-validation",  # the Hub converts the first gigabytes of large sets
        columns=("text",),
        licence="ODC-By 1.0",
        sample="c4-sample",
    ),
    "snips": HubText(  # the training half: the test half has 95 KB
        id="benayas/snips",
        revision="16915b895754dd4028068abe52b6851a904977d7",
        subset="data",
        split="train",
        files="{subset}/{split}-*.parquet",
        columns=("text",),
        between="\n",
        licence="Apache 2.0",
        sample="snips-sample",
    ),
    "alpacaeval": HubText(  # tatsu-lab/alpaca_eval is a script and JSON; these are the 100 of arXiv 2402.14992
        id="tinyBenchmarks/tinyAlpacaEval",
        revision="ba007512e0baee20c13d506e9975759f7d7106c2",
        subset="data",
        split="test",
        files="{subset}/{split}-*.parquet",
        columns=("instruction", "output"),
        licence="CC BY-NC 4.0 (AlpacaEval)",
        sample="alpacaeval-sample",
    ),
    "mctest": HubText(  # an older commit of the Hub's conversion, with other file names than today's
        id="sagnikrayc/mctest",
        revision="92e98266f7aaeb47a9032e139e4a459533d32fca",
        subset="mc500",
        split="test",
        files="{subset}/mctest-{split}.parquet",
        heading="story",
        columns=("question", "answer_options.A", "answer_options.B", "answer_options.C", "answer_options.D"),
        replaced=(("\\newline", "\n"),),
        licence="Microsoft Research licence",
        sample="mctest-sample",
    ),
    "cmrc": HubText(
        id="hfl/cmrc2018",
        revision="137f2c45a24275fb68f6961c4d357f46288886aa",
        subset="data",
        split="validation",
        files="{subset}/{split}-*.parquet",
        heading="context",
        columns=("question", "answers.text"),
        licence="CC BY-SA 4.0",
        sample="cmrc-sample",
    ),
    "instruct-ja": HubText(  # main holds JSON; the conversion's folder is taken from its rule, its commit was not seen
        id="kunishou/databricks-dolly-15k-ja",
        revision=PARQUET,
        subset="default",
        split="train",
        columns=("instruction", "input", "output"),
        licence="CC BY-SA 3.0",
        sample="instruct-ja-sample",
    ),
}
