"""A text as windows: disjoint, from its start, reproducible; and texts that are none."""

import pytest
import torch

from lowrank_core.calibration.texts import TEXTS, read_text, text_of
from lowrank_core.calibration.windows import cut_windows
from lowrank_core.errors import BadValue, TextNotFound, TextNotUtf8, TextTooShort


@pytest.fixture
def tokenizer(loaded):
    return loaded.tokenizer


def test_windows_are_the_text_from_its_start(tokenizer, tiny_file) -> None:
    text = read_text(tiny_file)
    ids = tokenizer(text.content, add_special_tokens=False, verbose=False).input_ids
    windows = cut_windows(tokenizer, text, 10, 32)
    assert windows.shape == (10, 32) and windows.dtype == torch.long
    assert windows.flatten().tolist() == ids[:320]  # disjoint, gapless, nothing added


def test_other_seeds_draw_other_windows_and_always_the_same(tokenizer, tiny_file) -> None:
    text = read_text(tiny_file)
    every = {tuple(w) for w in cut_windows(tokenizer, text, 10_000, 32).tolist()}
    zero, one, two = (cut_windows(tokenizer, text, 20, 32, seed) for seed in (0, 1, 2))
    assert not torch.equal(zero, one) and not torch.equal(one, two)
    assert torch.equal(one, cut_windows(tokenizer, text, 20, 32, 1))
    drawn = [tuple(w) for w in one.tolist()]
    assert len(set(drawn)) == 20 and set(drawn) <= every
    assert torch.equal(one[:5], cut_windows(tokenizer, text, 5, 32, 1))


def test_a_shorter_text_gives_the_windows_it_has(tokenizer) -> None:
    text = text_of(b"the little fox lived by the river. " * 20, "short")
    total = len(tokenizer(text.content, add_special_tokens=False).input_ids)
    assert cut_windows(tokenizer, text, 1000, 16).shape == (total // 16, 16)
    assert cut_windows(tokenizer, text, 1000, total).shape == (1, total)
    with pytest.raises(TextTooShort, match=str(total)):
        cut_windows(tokenizer, text, 1000, total + 1)


@pytest.mark.parametrize(("count", "length"), [(0, 16), (-1, 16), (4, 1), (4, 0), (4, -3)])
def test_what_is_no_sample_is_refused(tokenizer, count: int, length: int) -> None:
    with pytest.raises(BadValue):
        cut_windows(tokenizer, text_of(b"words " * 100, "x"), count, length)


@pytest.mark.parametrize("raw", [b"", b"  \n\t ", "\u3000".encode()])
def test_empty_texts(tmp_path, raw: bytes) -> None:
    (tmp_path / "empty.txt").write_bytes(raw)
    with pytest.raises(TextTooShort, match="empty"):
        read_text(tmp_path / "empty.txt")


def test_texts_that_are_not_utf_8(tmp_path) -> None:
    (tmp_path / "latin.txt").write_bytes("na\u00efve".encode("latin-1"))
    with pytest.raises(TextNotUtf8, match="byte 2"):
        read_text(tmp_path / "latin.txt")


def test_texts_that_are_not_there_list_those_that_are(tmp_path) -> None:
    for name in ("no-such-text", tmp_path / "nowhere.txt", tmp_path):
        with pytest.raises(TextNotFound) as refused:
            read_text(name)
        assert all(known in refused.value.hint for known in TEXTS)


def test_the_digest_is_of_the_content(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("one", "utf-8")
    (tmp_path / "b.txt").write_text("one", "utf-8")
    (tmp_path / "c.txt").write_text("two", "utf-8")
    a, b, c = (read_text(tmp_path / f"{n}.txt") for n in "abc")
    assert a.digest == b.digest != c.digest and a.name != b.name
