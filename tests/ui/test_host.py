"""What a public host refuses, and what it hands on; the line before the device; models within their bytes."""

import pickle
import shutil
import threading
import time

import pytest

from lowrank_core.errors import LowRankError, ModelTooLarge
from lowrank_core.settings import BUNDLED_STUDY
from lowrank_core.store import Store
from lowrank_core.study.recipe import Recipe
from lowrank_core.ui import chat_handlers, squeeze_handlers
from lowrank_core.ui.chat_handlers import Options
from lowrank_core.ui.device import one_job
from lowrank_core.ui.host import LOCAL, PUBLIC, Host, host_here, listen_at
from lowrank_core.ui.house import House
from lowrank_core.ui.line import Line
from lowrank_core.ui.sides import Side


@pytest.fixture
def public(tmp_path, monkeypatch):
    """A public house, whose upload folder is a temporary one."""
    (tmp_path / "uploads").mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return House(Store(tmp_path / "store", (BUNDLED_STUDY,)), PUBLIC)


def test_spaces_are_public(monkeypatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    assert host_here() is LOCAL and host_here(True) is PUBLIC and listen_at() == "127.0.0.1"
    monkeypatch.setenv("SPACE_ID", "me/studio")
    assert host_here() is PUBLIC and listen_at() == "0.0.0.0"


@pytest.mark.parametrize("name", ["assets/demo_model", "/etc", "..", "../x", "~", "./assets/demo_model", "a/../b", "",
                                  "assets/../assets/demo_model", "file:///etc", "demo/", "a/b/c"])  # fmt: skip
def test_no_local_models(public, tiny, name) -> None:
    for path in (name, str(tiny)):
        for ask in (public.model, lambda n: public.view(Recipe(model=n)), lambda n: public.bench(Recipe(model=n)),
                    lambda n: public.recipe({"model": n})):  # fmt: skip
            with pytest.raises(LowRankError, match="no folders"):
                ask(path)
    assert public.view(Recipe()).ready


def test_no_local_texts(public, tiny_file, tmp_path) -> None:
    uploads = tmp_path / "uploads"
    (uploads / "link.txt").symlink_to(tiny_file)
    (uploads / "folder").symlink_to(tmp_path)
    shutil.copy(tiny_file, tmp_path / "outside.txt")
    names = [str(tiny_file), "README.md", "/etc/passwd", "../README.md", str(uploads / "link.txt"),
             str(uploads / "folder" / "outside.txt"), str(uploads / ".." / "outside.txt"), f"demo+{tiny_file}",
             f"chat:{tiny_file}", f"demo:1+{tmp_path / 'outside.txt'}:1"]  # fmt: skip
    for name in names:
        for ask in (lambda n: public.recipe({"text": n}), lambda n: public.view(Recipe(text=n))):
            with pytest.raises(LowRankError, match="reads no files"):
                ask(name)
    mine = shutil.copy(tiny_file, uploads / "mine.txt")
    assert public.recipe({"text": str(mine)}).text == str(mine)
    assert public.recipe({"text": "demo:2+chat:c4-sample:1"})


def test_uploads_that_are_too_large_or_no_text(public, tmp_path) -> None:
    large, binary, nulls = (tmp_path / "uploads" / n for n in ("large.txt", "binary.txt", "nulls.txt"))
    large.write_bytes(b"word " * 1_200_000)
    binary.write_bytes(bytes(range(256)) * 100)
    nulls.write_bytes(b"text\0text" * 100)
    for file, sentence in ((large, "takes 5 MB"), (binary, "not UTF-8"), (nulls, "null bytes")):
        with pytest.raises(LowRankError, match=sentence):
            public.view(public.recipe({"text": str(file)}))


def test_a_million_tokens(public) -> None:
    for values in ({"windows": 10**6, "window": 256}, {"windows": 10**6}, {"windows": 512, "window": 10**6}):
        with pytest.raises(LowRankError, match="at most"):
            public.recipe(values)
    for tokens, prompt in ((10**6, "hi"), (0, "hi"), (100, "x" * 10**6)):
        with pytest.raises(LowRankError, match="at most"):
            public.host.check_reply(tokens, prompt)
    public.host.check_reply(400, "hi")
    LOCAL.check_reply(10**6, "x" * 10**6)
    with pytest.raises(LowRankError, match="writes no folders"):
        public.host.check_export()


def test_sessions_hold_keys_only(house, tiny, tiny_file) -> None:
    recipe = Recipe(model=str(tiny), text=str(tiny_file), windows=8, window=32, probe_windows=2, allocator="strs")
    list(squeeze_handlers.settle(house, recipe, "a", house.next_turn("a"), None))
    pair = (Side("Dense"), Side("Small", recipe))
    list(chat_handlers.reply(house, pair, recipe, "a", [], [], "a secret of mine", Options(max_tokens=8)))
    raw = pickle.dumps(house.visits.state("a"))
    assert b"torch" not in raw and b"secret" not in raw and len(raw) < 50_000
    house.leave("a")
    assert len(house.visits) == 0


# --- the line --------------------------------------------------------------------------------------------------------


def test_the_line_serves_in_the_order_of_arrival_one_at_a_time() -> None:
    line, served, together = Line(0.0), [], []
    tickets = [line.join() for _ in range(4)]

    def work(i: int) -> None:
        for _ in range(3):
            while not line.enter(tickets[i], 5):
                pass
            together.append(sum(t.stepping for t in tickets))
            served.append(i)
            time.sleep(0.01)
            line.exit(tickets[i])
        line.leave(tickets[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in (3, 1, 0, 2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(10)
    assert served == [0, 1, 2, 3] * 3 and set(together) == {1} and len(line) == 0 and not line.held


def test_a_slice_is_kept_and_then_given_to_the_next() -> None:
    line = Line(0.2)
    first, second = line.join(), line.join()
    steps, began = 0, time.monotonic()
    while line.enter(first, 0):
        assert not line.enter(second, 0)
        time.sleep(0.02)
        line.exit(first)
        steps += 1
    assert 0.2 <= time.monotonic() - began < 2 and steps > 1
    assert line.place(first) == (1, 2) and line.enter(second, 0)


def test_who_is_not_heard_of_does_not_hold_up_the_others() -> None:
    line = Line(60, grace=0.2)
    gone, next_one = line.join(), line.join()
    assert line.enter(gone, 0)
    line.exit(gone)
    assert not line.enter(next_one, 0.05)
    assert line.enter(next_one, 2)
    line.exit(next_one)
    line.leave(next_one)
    assert line.enter(gone, 1), "who comes back stands in line again"
    line.exit(gone)
    line.leave(gone)
    assert len(line) == 0


def test_a_step_that_takes_long_is_not_given_up() -> None:
    line = Line(60, grace=0.05)
    slow, other = line.join(), line.join()
    assert line.enter(slow, 0)
    time.sleep(0.2)
    assert not line.enter(other, 0.2) and line.held
    line.exit(slow)


def test_queued_visitors_see_their_place_and_may_leave(tmp_path) -> None:
    house = House(Store(tmp_path), Host(slice_seconds=60))

    @one_job()
    def endless(house, recipe, session, turn):
        while house.visit(session).turn == turn:
            yield None, "working"

    first = endless(house, Recipe(), "a", house.next_turn("a"))
    second = endless(house, Recipe(), "b", house.next_turn("b"))
    third = endless(house, Recipe(), "c", house.next_turn("c"))
    assert next(first) == (None, "working")
    assert next(second)[1].startswith("Queued: place 1 of 1")
    assert next(third)[1].startswith("Queued: place 2 of 2")
    house.next_turn("b")
    assert [status for _, status in second] == ["Stopped."]
    first.close()  # the visitor left: the browser is gone
    assert next(third) == (None, "working")
    third.close()
    assert len(house.line) == 0 and not house.line.held


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tiny, tmp_path):
    """Three folders with a model of the same size."""
    return [str(shutil.copytree(tiny, tmp_path / name)) for name in "abc"]


def house_for(tmp_path, **limits) -> House:
    return House(Store(tmp_path / "store"), Host(**limits))


def test_models_stay_within_their_bytes(three, loaded, tmp_path) -> None:
    one = sum(p.nbytes for p in loaded.model.parameters())
    house = house_for(tmp_path, resident_bytes=int(2.5 * one))
    for name in three:
        house.model(name)
    assert house.loaded(three[0]) is None and house.loaded(three[1]) and house.loaded(three[2])
    assert house.models.bytes <= 2.5 * one
    house.model(three[1])
    house.model(three[0])
    assert house.loaded(three[2]) is None, "the one used longest ago goes"


def test_a_model_in_use_is_never_taken(three, loaded, tiny_file, tmp_path) -> None:
    one = sum(p.nbytes for p in loaded.model.parameters())
    house = house_for(tmp_path, resident_bytes=int(1.5 * one))
    recipe = Recipe(model=three[0], text=str(tiny_file), windows=4, window=32)
    steps = squeeze_handlers.calibrated(house, recipe, "a", house.next_turn("a"))
    next(steps)
    first = house.loaded(three[0])
    with pytest.raises(ModelTooLarge, match="in use leave no room"):
        house.model(three[1])
    assert house.loaded(three[0]) is first and house.loaded(three[1]) is None
    list(steps)
    house.model(three[1])
    assert house.loaded(three[0]) is None and not house._benches, "its workbench went with it"


def test_a_model_over_the_limit_is_refused_before_it_is_loaded(tiny, tmp_path) -> None:
    house = house_for(tmp_path, model_bytes=1000)
    with pytest.raises(ModelTooLarge, match="limit here is 1 kB"):
        house.model(str(tiny))
    assert house.models.bytes == 0
