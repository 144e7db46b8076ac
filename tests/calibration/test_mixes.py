"""Several texts in one name: how it is read, what each gives, and in which order."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from lowrank_core.calibration.names import interleaved, shares, split_mix
from lowrank_core.calibration.texts import Mix, OwnText, is_own, read_text, settled
from lowrank_core.calibration.windows import cut_windows
from lowrank_core.errors import BadValue, TextNotFound, TextTooShort

WEIGHTS = st.lists(st.floats(0.05, 20), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a", [("a", 1)]),
        ("a:2", [("a", 2)]),
        ("a+b", [("a", 1), ("b", 1)]),
        ("a:2+b:0.5", [("a", 2), ("b", 0.5)]),
        ("a:3+b", [("a", 3), ("b", 1)]),
        ("a + b:1e2", [("a", 1), ("b", 100)]),
        ("x+y.txt+a:2", [("x+y.txt", 1), ("a", 2)]),
        ("a:2+x+y.txt:3", [("a", 2), ("x+y.txt", 3)]),
        ("c:3", [("c:3", 1)]),
        ("c:3:4+a", [("c:3", 4), ("a", 1)]),
        ("nowhere:2+a", [("nowhere:2", 1), ("a", 1)]),
        ("a+", [("a", 1), ("", 1)]),
    ],
)
def test_names_are_taken_apart(name: str, parts: list) -> None:
    assert split_mix(name, {"a", "b", "x+y.txt", "c:3"}.__contains__) == parts


@pytest.mark.parametrize("weight", ["0", "-1", "x", "nan", "inf", ""])
def test_weights_that_are_none(weight: str) -> None:
    for name in (f"demo:{weight}", f"demo:{weight}+demo-test", f"demo-test:2+demo:{weight}"):
        with pytest.raises(BadValue, match="is no weight") as refused:
            read_text(name)
        assert "demo:2+wikitext-sample:1" in refused.value.hint


def test_a_file_is_a_file_whatever_its_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("demo:2+demo-test", "chat:demo", "a+b:1", "notes:3"):
        (tmp_path / name).write_text(f"the file {name}", "utf-8")
        assert read_text(name).content == f"the file {name}" and type(read_text(name)).__name__ == "Text"
    assert [p.name for p, _ in read_text("a+b:1+demo:3").parts] == ["a+b:1", "demo"]
    assert [w for _, w in read_text("a+b:1:3+demo").parts] == [0.75, 0.25]


def test_the_digest_depends_on_all_parts_and_weights() -> None:
    names = ("demo", "demo+demo-test", "demo:2+demo-test", "demo+demo-test:2", "demo+c4-sample", "chat:demo+demo-test")
    digests = {read_text(n).digest for n in (*names, "demo+demo-test+c4-sample")}
    assert len(digests) == len(names) + 1
    assert read_text("demo:2+demo-test:2").digest == read_text("demo+demo-test").digest  # the same mix
    assert read_text("demo:2") == read_text("demo")


def test_labels_hold_no_folder(tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("words", "utf-8")
    mine = tmp_path / "mine.txt"
    assert read_text(f"{mine}:3+demo").label == "mine.txt:0.75+demo:0.25"
    assert read_text(f"chat:{mine}").label == "chat:mine.txt"


def test_what_is_refused(tmp_path) -> None:
    for name in ("demo+nowhere", "nowhere+demo", "demo+"):
        with pytest.raises(TextNotFound):
            read_text(name)
    with pytest.raises(TextNotFound, match=r"nowhere\+either"):
        read_text("nowhere+either")
    with pytest.raises(BadValue, match="twice"):
        read_text("demo:2+demo")
    (tmp_path / "empty.txt").write_text(" ")
    with pytest.raises(TextTooShort, match="empty"):
        read_text(f"demo+{tmp_path / 'empty.txt'}")


# --- shares and order ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "count", "room", "given"),
    [
        ([2, 1], 9, [99, 99], [6, 3]),
        ([2, 1], 10, [99, 99], [7, 3]),
        ([1, 1, 1], 8, [99] * 3, [3, 3, 2]),
        ([100, 1], 10, [99, 99], [9, 1]),
        ([1, 100], 1, [99, 99], [0, 1]),
        ([1, 1], 10, [2, 99], [2, 8]),
        ([2, 1, 1], 12, [2, 99, 99], [2, 5, 5]),
        ([1, 1], 10, [2, 3], [2, 3]),
    ],
)
def test_shares(weights: list, count: int, room: list, given: list) -> None:
    assert shares(weights, count, room) == given


@given(WEIGHTS, st.integers(1, 60), st.data())
def test_shares_use_all_there_is(weights: list, count: int, data) -> None:
    room = data.draw(st.lists(st.integers(1, 40), min_size=len(weights), max_size=len(weights)))
    found = shares(weights, count, room)
    assert sum(found) == min(count, sum(room)) and all(0 <= f <= r for f, r in zip(found, room, strict=True))
    if count >= len(weights):
        assert min(found) >= 1


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_every_beginning_has_the_proportions(counts: list) -> None:
    order = interleaved(counts)
    assert sorted(order) == [(p, n) for p, count in enumerate(counts) for n in range(count)]
    for end in range(1, len(order) + 1):
        for part, count in enumerate(counts):
            taken = sum(p == part for p, _ in order[:end])
            assert abs(taken - count * end / len(order)) <= len(counts) / 2 + 0.5


# --- windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 3])
def test_a_mix_is_made_of_its_parts_windows(loaded, tiny_file, seed: int) -> None:
    cut = lambda name, count: cut_windows(loaded.tokenizer, read_text(name), count, 16, seed)  # noqa: E731
    windows = cut(f"{tiny_file}:2+wikitext-sample", 9)
    a, b = cut(tiny_file, 6).tolist(), cut("wikitext-sample", 3).tolist()
    rows = windows.tolist()
    assert windows.shape == (9, 16) and windows.dtype == torch.long
    assert [r for r in rows if r in a] == a and [r for r in rows if r in b] == b
    assert [sum(r in a for r in rows[i : i + 3]) for i in (0, 3, 6)] == [2, 2, 2]
    assert torch.equal(windows, cut(f"{tiny_file}:2+wikitext-sample", 9))


def test_a_short_part_is_filled_up_from_the_others(loaded, tiny_file, tmp_path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("the little fox lived by the river. " * 8, "utf-8")
    alone = cut_windows(loaded.tokenizer, read_text(short), 99, 16)
    windows = cut_windows(loaded.tokenizer, read_text(f"{short}+{tiny_file}"), 60, 16)
    assert len(alone) < 30 and len(windows) == 60
    assert sum(row in alone.tolist() for row in windows.tolist()) == len(alone)
    (tmp_path / "none.txt").write_text("too short", "utf-8")
    with pytest.raises(TextTooShort, match="none.txt"):
        cut_windows(loaded.tokenizer, read_text(f"{tmp_path / 'none.txt'}+{tiny_file}"), 60, 64)


# --- what a model is to write ----------------------------------------------------------------------------------------


def test_own_text_is_a_name_until_it_is_settled(loaded) -> None:
    own, mix = read_text("self"), read_text("self:3+demo")
    assert isinstance(own, OwnText) and isinstance(mix, Mix) and is_own(own) and is_own(mix)
    assert not is_own(read_text("demo")) and settled(read_text("demo"), "d") == read_text("demo")
    assert settled(own, "d").digest == "d"
    assert len({mix.digest, settled(mix, "d").digest, settled(mix, "e").digest}) == 3
    for text in (own, mix):
        with pytest.raises(BadValue, match="writes itself"):
            cut_windows(loaded.tokenizer, text, 4, 16)
