"""The store: what goes in comes out, what is damaged counts as absent, and many processes may write at once."""

import dataclasses
import multiprocessing

import numpy as np
import pytest

from lowrank_core.errors import ArtefactCorrupt
from lowrank_core.store import VERSIONS, Artefact, Key, Store
from lowrank_core.study.keys import Source

KEY = Key("gram", {"model": "abc", "window": 64})
ARRAYS = Artefact(
    {"gram": np.arange(12.0).reshape(3, 4), "few": np.arange(3, dtype=np.int32), "none": np.zeros((0, 2))},
    {"tokens": 7},
)
FACTS = Artefact(facts={"points": [{"keep": 0.1, "delta_nll": 1 / 3}], "text": "naïve 文"})


def same(a: Artefact, b: Artefact) -> bool:
    return (
        a.facts == b.facts
        and a.arrays.keys() == b.arrays.keys()
        and all(np.array_equal(a.arrays[k], b.arrays[k]) and a.arrays[k].dtype == b.arrays[k].dtype for k in a.arrays)
    )


def only_file(store: Store):
    (path,) = [f for f in store.folder.rglob("*") if f.suffix in (".json", ".safetensors")]
    return path


@pytest.mark.parametrize("artefact", [ARRAYS, FACTS, Artefact()], ids=["arrays", "facts", "empty"])
def test_round_trip(store, artefact) -> None:
    assert store.read(KEY) is None
    store.write(KEY, artefact)
    assert same(store.read(KEY), artefact)
    assert same(Store(store.folder).read(KEY), artefact)


def test_arrays_that_are_not_contiguous_survive(store) -> None:
    store.write(KEY, Artefact({"turned": np.arange(12.0).reshape(3, 4).T, "every other": np.arange(10)[::2]}))
    found = store.read(KEY).arrays
    assert np.array_equal(found["turned"], np.arange(12.0).reshape(3, 4).T) and found["every other"].tolist() == [
        0,
        2,
        4,
        6,
        8,
    ]


def test_floats_survive_to_the_last_bit(store) -> None:
    values = [0.1 + 0.2, 1e-310, -0.0, 2.0**-1074, 1 / 3]
    store.write(KEY, Artefact(facts={"values": values}))
    assert [v.hex() for v in store.read(KEY).facts["values"]] == [v.hex() for v in values]


def test_get_computes_once(store) -> None:
    calls = []

    def compute() -> Artefact:
        calls.append(1)
        return ARRAYS

    assert same(store.get(KEY, compute), store.get(KEY, compute)) and len(calls) == 1


def test_the_newest_write_is_what_is_read(store) -> None:
    """Also where an artefact gains or loses its arrays, and with them its suffix."""
    for artefact in (FACTS, ARRAYS, FACTS, Artefact(facts={"n": 1}), ARRAYS):
        store.write(KEY, artefact)
        assert same(store.read(KEY), artefact)


def test_shipped_results_stand_behind_the_users_own(tmp_path) -> None:
    shipped = Store(tmp_path / "shipped")
    shipped.write(KEY, ARRAYS)
    store = Store(tmp_path / "own", (tmp_path / "shipped",))
    assert same(store.read(KEY), ARRAYS) and not store.folder.exists()
    store.write(KEY, FACTS)
    assert same(store.read(KEY), FACTS) and same(shipped.read(KEY), ARRAYS)


@pytest.mark.parametrize("artefact", [ARRAYS, FACTS], ids=["arrays", "facts"])
def test_a_truncated_file_is_removed_and_recomputed(store, artefact) -> None:
    store.write(KEY, artefact)
    path, whole = only_file(store), only_file(store).read_bytes()
    for length in sorted({*range(0, 12), len(whole) // 3, len(whole) // 2, len(whole) - 1}):
        path.write_bytes(whole[:length])
        with pytest.warns(UserWarning, match="computed again"):
            assert store.read(KEY) is None
        assert not path.exists(), length
        assert same(store.get(KEY, lambda: artefact), artefact)


@pytest.mark.parametrize("artefact", [ARRAYS, FACTS], ids=["arrays", "facts"])
@pytest.mark.filterwarnings("ignore:The stored result")
def test_no_altered_byte_becomes_a_wrong_value(store, artefact) -> None:
    store.write(KEY, artefact)
    path, whole = only_file(store), only_file(store).read_bytes()
    refused = 0
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ (1 << i % 8)]) + whole[i + 1 :])
        found = store.read(KEY)
        refused += found is None
        assert found is None or same(found, artefact), i
        assert path.exists() == (found is not None)
    assert refused > len(whole) / 3


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"null", b"7", b'"text"', b'{"facts": 3}', b'{"facts": "[1"}', b"\xff\xfe", b"\0" * 64],
)
@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_garbage_is_corrupt_and_never_an_accident(tmp_path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ArtefactCorrupt):
        Artefact.decode(path)


def test_a_damaged_shipped_file_is_not_touched(tmp_path) -> None:
    shipped = Store(tmp_path / "shipped")
    shipped.write(KEY, ARRAYS)
    path = only_file(shipped)
    path.write_bytes(path.read_bytes()[:-3])
    store = Store(tmp_path / "own", (tmp_path / "shipped",))
    with pytest.warns(UserWarning):
        assert store.read(KEY) is None
    assert path.exists()


def test_a_failed_write_leaves_the_old_artefact_and_no_rubbish(store, monkeypatch) -> None:
    store.write(KEY, FACTS)
    monkeypatch.setattr("lowrank_core.store.store.os.replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write(KEY, Artefact(facts={"n": 2}))
    assert same(store.read(KEY), FACTS)
    assert [f.name for f in (store.folder / "gram").iterdir()] == [only_file(store).name]


# --- names ---------------------------------------------------------------------------------------------------


def test_a_name_depends_on_kind_version_and_every_value(monkeypatch) -> None:
    names = {
        KEY.digest,
        Key("channels", KEY.decided).digest,
        Key("gram", {**KEY.decided, "window": 65}).digest,
        Key("gram", {**KEY.decided, "more": None}).digest,
        Key("gram", {"model": "abc"}).digest,
        Key("gram", {"model": "abc", "window": "64"}).digest,
    }
    assert len(names) == 6
    assert Key("gram", {"window": 64, "model": "abc"}).digest == KEY.digest  # order says nothing
    before = KEY.digest
    monkeypatch.setitem(VERSIONS, "gram", VERSIONS["gram"] + 1)
    assert KEY.digest != before


def test_a_value_that_is_not_a_number_names_nothing() -> None:
    with pytest.raises(ValueError):
        Key("gram", {"alpha": float("nan")}).digest  # noqa: B018


SOURCE = Source("model", "text", 128, 64, 0, "float32", "cpu")
KEYS = {
    "channels": lambda s: s.channels("0.qkv"),
    "gram": lambda s: s.gram("0.qkv"),
    "spectrum": lambda s: s.spectrum("p", "svd", {}),
    "points": lambda s: s.points("p", "svd", {}, 32, "factored"),
    "fisher": lambda s: s.fisher("p"),
    "evaluation": lambda s: s.evaluation({"method": "svd", "ranks": {"p": 3}}, "test", 64, 64),
}


@pytest.mark.parametrize("kind", KEYS)
def test_every_result_is_named_by_all_of_its_source(kind: str) -> None:
    other = {"model": "x", "text": "x", "windows": 1, "window": 1, "seed": 1, "dtype": "x", "device": "x"}
    assert set(other) == {f.name for f in dataclasses.fields(Source)}
    names = {
        KEYS[kind](SOURCE).digest,
        *(KEYS[kind](dataclasses.replace(SOURCE, **{k: v})).digest for k, v in other.items()),
    }
    assert len(names) == 1 + len(other)


def test_results_are_named_by_what_decided_them_beside_the_source() -> None:
    s = SOURCE
    assert len({k(s).digest for k in KEYS.values()} | {s.anatomy().digest}) == len(KEYS) + 1
    assert s.channels("0.qkv").digest != s.channels("1.qkv").digest
    assert s.gram("0.qkv").digest != s.gram("1.qkv").digest
    spectra = [
        s.spectrum("p", "svd", {}),
        s.spectrum("q", "svd", {}),
        s.spectrum("p", "asvd-0", {"alpha": 0.5}),
        s.spectrum("p", "asvd-0", {"alpha": 0.6}),
    ]
    points = [
        s.points("p", "svd", {}, 32, "factored"),
        s.points("q", "svd", {}, 32, "factored"),
        s.points("p", "svd", {}, 16, "factored"),
        s.points("p", "asvd-0", {"alpha": 0.5}, 32, "factored"),
        s.points("p", "asvd-0", {"alpha": 0.6}, 32, "factored"),
        s.points("p", "svd", {}, 32, "pivoted"),
    ]
    evaluations = [
        s.dense_evaluation("t", 64, 64),
        s.evaluation({"method": "svd", "ranks": {"p": 3}}, "t", 64, 64),
        s.evaluation({"method": "svd", "ranks": {"p": 4}}, "t", 64, 64),
        s.evaluation({"method": "svd", "ranks": {"p": None}}, "t", 64, 64),
        s.evaluation({"method": "svd", "ranks": {"p": 3}}, "u", 64, 64),
        s.evaluation({"method": "svd", "ranks": {"p": 3}}, "t", 32, 64),
        s.evaluation({"method": "svd", "ranks": {"p": 3}}, "t", 64, 32),
        s.evaluation({"method": "asvd-i", "ranks": {"p": 3}}, "t", 64, 64),
    ]
    for keys in (spectra, points, evaluations):
        assert len({k.digest for k in keys}) == len(keys)


def test_the_dense_loss_does_not_depend_on_the_calibration() -> None:
    other = dataclasses.replace(SOURCE, text="x", windows=1, seed=1)
    assert SOURCE.dense_evaluation("t", 64, 64).digest == other.dense_evaluation("t", 64, 64).digest


# --- looking after it ------------------------------------------------------------------------------------------


def test_entries_and_clear(store) -> None:
    store.write(KEY, ARRAYS)
    store.write(Key("gram", {"other": 1}), ARRAYS)
    store.update(Key("points", {"a": 1}), lambda old: FACTS)
    found = {kind: (number, size) for kind, number, size in store.entries()}
    assert found["gram"][0] == 2 and found["points"][0] == 1
    assert store.clear("gram") == found["gram"][1] and [e[0] for e in store.entries()] == ["points"]
    assert store.clear() == found["points"][1] and list(store.entries()) == []
    assert store.read(KEY) is None
    store.write(KEY, ARRAYS)
    assert same(store.read(KEY), ARRAYS)


# --- many processes ---------------------------------------------------------------------------------------------

ROUNDS = 60
SHARED = Key("points", {"shared": True})


def add_entries(folder, who: int, start) -> None:
    """Adds ROUNDS entries of its own to a shared artefact, and rewrites and reads a large one between them."""
    store = Store(folder)
    start.wait()
    for i in range(ROUNDS):
        store.update(SHARED, lambda old, i=i: Artefact(facts={**(old.facts if old else {}), f"{who}-{i}": i}))
        store.write(KEY, Artefact({"gram": np.full((100, 100), float(who))}))
        array = store.read(KEY).arrays["gram"]
        assert array.min() == array.max()


def test_processes_at_once_lose_nothing(store) -> None:
    context = multiprocessing.get_context("forkserver")
    start = context.Barrier(3)
    workers = [context.Process(target=add_entries, args=(store.folder, who, start)) for who in range(3)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(60)
    assert [w.exitcode for w in workers] == [0, 0, 0]
    assert store.read(SHARED).facts == {f"{who}-{i}": i for who in range(3) for i in range(ROUNDS)}
    assert not list(store.folder.rglob("*.part"))
