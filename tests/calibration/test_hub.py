"""Data sets on the Hub as texts: the rows as data, and the real loading code against a stand-in on 127.0.0.1."""

import io
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from lowrank_core.calibration import hub
from lowrank_core.calibration.hub import HUB_TEXTS, PARQUET, documents, gather
from lowrank_core.calibration.texts import TEXTS, read_text
from lowrank_core.errors import TextNotFetched
from lowrank_core.settings import HUB_TEXT_BYTES

from .stand_in import Hub, serving

ROOT = Path(__file__).resolve().parents[2]
READ = """
import json, sys
from lowrank_core.calibration.texts import read_text
from lowrank_core.errors import LowRankError
try:
    text = read_text(sys.argv[1])
    print(json.dumps({"content": text.content, "digest": text.digest, "fetched": "datasets" in sys.modules}))
except LowRankError as error:
    print(json.dumps({"kind": type(error).__name__, "message": error.message, "hint": error.hint}))
"""


def parquet(rows: list[dict]) -> bytes:
    file = io.BytesIO()
    pandas.DataFrame(rows).to_parquet(file, row_group_size=100)
    return file.getvalue()


def served(key: str, raw: bytes, file: str = "0000.parquet") -> Hub:
    """The data set of a row with these bytes where the row looks for them, and a script that must not be run."""
    source = HUB_TEXTS[key]
    pattern = source.files.format(subset=source.subset, split=source.split)
    path = pattern.replace("*.parquet", file) if "/*" in pattern else pattern.replace("*", "00000-of-00001")
    return Hub(source.id, {path: raw, f"{source.id.split('/')[1]}.py": b"raise SystemExit('run')", "README.md": b"#"})


def read_there(key: str, address: str, home: Path, cache: Path, **environment: str) -> dict:
    """`read_text(key)` in a process of its own, whose Hub is at the address."""
    known = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    known |= {"HF_ENDPOINT": address, "HF_HOME": str(home), "LOWRANK_CACHE": str(cache), **environment}
    command = [sys.executable, "-c", READ, key]
    done = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# --- the rows --------------------------------------------------------------------------------------------------------


def test_the_eight_kinds_of_the_paper_are_there() -> None:
    eight = {"wikitext2", "ptb", "c4", "snips", "alpacaeval", "mctest", "cmrc", "instruct-ja"}
    assert set(HUB_TEXTS) == eight == {k for k, t in TEXTS.items() if t.hub}
    assert all(TEXTS[k].hub is HUB_TEXTS[k] for k in eight)
    assert len({t.label for t in TEXTS.values()}) == len(TEXTS)


@pytest.mark.parametrize("key", HUB_TEXTS)
def test_every_row_is_pinned_and_reads_parquet_only(key: str) -> None:
    source = HUB_TEXTS[key]
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", source.id)
    assert source.revision == PARQUET or re.fullmatch(r"[0-9a-f]{40}", source.revision)
    assert source.pattern.endswith(".parquet") and "{" not in source.pattern
    assert source.split in source.pattern and source.subset in source.pattern
    assert source.columns and source.licence and TEXTS[key].label and TEXTS[key].line
    assert TEXTS[source.sample].file and source.sample.startswith(key.removesuffix("2"))


def test_the_name_in_the_cache_holds_what_decides_the_text(monkeypatch) -> None:
    names = {source.cached("x").name for source in HUB_TEXTS.values()}
    assert len(names) == len(HUB_TEXTS)
    before = HUB_TEXTS["ptb"].cached("ptb")
    monkeypatch.setattr(hub, "HUB_TEXT_BYTES", 5)
    assert HUB_TEXTS["ptb"].cached("ptb") != before


# --- rows as text ----------------------------------------------------------------------------------------------------


def test_a_single_column_is_taken_as_it_is() -> None:
    rows = [{"text": t} for t in (" = Title = \n", "", " Words . \n")]
    assert gather(HUB_TEXTS["wikitext2"], rows, 1000) == b" = Title = \n\n\n\n\n Words . \n"


def test_a_heading_stands_once_above_the_rows_that_share_it() -> None:
    rows = [{"context": c, "question": q, "answers": {"text": [a, "no"]}} for c, q, a in ("abc", "ade", "fgh")]
    assert list(documents(HUB_TEXTS["cmrc"], rows)) == ["a\nb\nc", "d\ne", "f\ng\nh"]
    options = dict(zip("ABCD", "wxyz", strict=True))
    row = {"story": "One.\\newlineTwo.", "question": "Who?", "answer_options": options}
    assert list(documents(HUB_TEXTS["mctest"], [row])) == ["One.\nTwo.\nWho?\nw\nx\ny\nz"]


def test_empty_columns_leave_no_empty_line() -> None:
    rows = [{"instruction": "i", "input": "", "output": "o"}, {"instruction": "j", "input": "k", "output": None}]
    assert list(documents(HUB_TEXTS["instruct-ja"], rows)) == ["i\no", "j\nk"]


def test_no_row_is_read_after_the_limit() -> None:
    def rows():
        yield {"text": "a" * 10}
        yield {"text": "ü" * 10}
        raise AssertionError("one row too many")

    assert gather(HUB_TEXTS["snips"], rows(), 25) == ("a" * 10 + "\n" + "ü" * 10).encode()


# --- the loading code ------------------------------------------------------------------------------------------------


def test_a_text_is_fetched_once_and_read_without_a_network(tmp_path) -> None:
    rows = [{"sentence": f"share {i} fell <unk> N %", "more": i} for i in range(250)]
    served_hub = served("ptb", parquet(rows))
    with serving(served_hub) as address:
        first = read_there("ptb", address, tmp_path / "home", tmp_path / "cache")
    assert first["content"] == "\n\n".join(r["sentence"] for r in rows) and first["fetched"]
    assert any("refs%2Fconvert%2Fparquet" in asked for asked in served_hub.asked)
    assert not any(".py" in asked for asked in served_hub.asked)
    again = read_there("ptb", "http://127.0.0.1:9", tmp_path / "other", tmp_path / "cache")
    assert again == {**first, "fetched": False}
    assert [p.name for p in (tmp_path / "cache" / "texts").iterdir()] == [HUB_TEXTS["ptb"].cached("ptb").name]


def test_pinned_commits_are_asked_for(tmp_path) -> None:
    answers = {"text": ["答"], "answer_start": [0]}
    rows = [{"context": "文", "question": f"问{i}", "answers": answers, "id": i} for i in range(3)]
    key, served_hub = "cmrc", served("cmrc", parquet(rows))
    with serving(served_hub) as address:
        found = read_there(key, address, tmp_path / "home", tmp_path / "cache")
    assert found["content"] == "文\n问0\n答\n\n问1\n答\n\n问2\n答"
    ours = [asked for asked in served_hub.asked if served_hub.repository in asked]
    assert ours and all(HUB_TEXTS[key].revision in asked for asked in ours)


def test_no_more_is_streamed_than_is_kept(tmp_path) -> None:
    rng = random.Random(0)
    rows = [{"text": rng.randbytes(1000).hex(), "url": rng.randbytes(2000).hex()} for _ in range(1200)]
    served_hub = served("c4", parquet(rows))
    first = next(iter(served_hub.files))
    served_hub.files[first.replace("0000", "0001")] = parquet(rows)
    with serving(served_hub) as address:
        found = read_there("c4", address, tmp_path / "home", tmp_path / "cache")
    assert HUB_TEXT_BYTES - 2 <= len(found["content"]) < HUB_TEXT_BYTES + 2000
    assert not any("0001.parquet" in asked for asked in served_hub.asked if "resolve" in asked)
    assert served_hub.sent < 1.2 * sum(map(len, served_hub.files.values())) / 2


@pytest.mark.parametrize("why", ["no network", "offline", "no data set", "another column", "no parquet"])
def test_what_cannot_be_fetched_says_so_and_names_the_sample(tmp_path, why: str) -> None:
    raw = {"another column": parquet([{"words": "x"}]), "no parquet": b"PAR2"}.get(why, parquet([{"text": "x"}]))
    served_hub = served("c4", raw)
    if why == "no data set":
        served_hub.repository = "some/other"
    with serving(served_hub) as address:
        address = "http://127.0.0.1:9" if why == "no network" else address
        more = {"HF_HUB_OFFLINE": "1"} if why == "offline" else {}
        found = read_there("c4", address, tmp_path / "home", tmp_path / "cache", **more)
    assert found["kind"] == "TextNotFetched" and "allenai/c4" in found["message"] and "\n" not in found["message"]
    assert "c4-sample" in found["hint"] and "UTF-8 file" in found["hint"]
    assert not list((tmp_path / "cache").rglob("*.txt"))


def test_in_this_process_too(cache) -> None:
    with pytest.raises(TextNotFetched, match="offline mode"):  # as tests/conftest.py has it
        read_text("wikitext2")
    with pytest.raises(TextNotFetched):
        read_text("demo+wikitext2")
    path = HUB_TEXTS["wikitext2"].cached("wikitext2")
    path.parent.mkdir(parents=True)
    path.write_text("fetched before", "utf-8")
    assert path.is_relative_to(cache) and read_text("wikitext2").content == "fetched before"


def test_menus_fetch_nothing() -> None:
    script = (
        "import sys, lowrank_core.study.read, lowrank_core.cli.options as o; o.complete_text('chat:');"
        "print({'datasets', 'torch', 'transformers', 'pyarrow'} & set(sys.modules) or 'none')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "none", done.stderr
