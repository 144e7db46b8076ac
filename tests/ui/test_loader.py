"""The loader: what fits, what it takes, text enough or not; loading from a stand-in hub, stopped and failed."""

import re
from contextlib import contextmanager
from dataclasses import replace

import huggingface_hub
import pytest
from huggingface_hub import constants

from lowrank_core.errors import ModelNotFound
from lowrank_core.jobs import finish
from lowrank_core.models import hub as hubs
from lowrank_core.models import room, suggestions
from lowrank_core.models.where import locate
from lowrank_core.store import Store
from lowrank_core.ui import loader_handlers as handlers
from lowrank_core.ui.host import LOCAL, PUBLIC
from lowrank_core.ui.house import House
from lowrank_core.ui.relay import guarded
from lowrank_core.ui.residents import Way
from tests.models.stand_in import Hub, serving

NAME = "owner/tiny"


def test_suggestions_fit_the_machine(monkeypatch) -> None:
    sizes = [s.millions for s in suggestions.SUGGESTIONS]
    assert sizes == sorted(sizes) and sizes[0] >= 100 and sizes[-1] <= 8100
    assert len({s.id for s in suggestions.SUGGESTIONS}) == len(sizes)
    monkeypatch.setattr(handlers, "available", lambda device: 4_000_000_000)
    offered = [name for _, name in handlers.choices(LOCAL)]
    assert offered[0] == "demo" and "TinyLlama/TinyLlama-1.1B-Chat-v1.0" in offered
    assert "Qwen/Qwen2.5-7B-Instruct" not in offered
    fewer = [name for _, name in handlers.choices(PUBLIC.__class__(public=True, model_bytes=500_000_000))]
    assert "openai-community/gpt2" in fewer and "Qwen/Qwen3-0.6B" not in fewer
    monkeypatch.setattr(handlers, "available", lambda device: 0)
    assert [name for _, name in handlers.choices(LOCAL)] == ["demo"]


def test_memory_is_told_first(tiny, monkeypatch) -> None:
    monkeypatch.setattr(handlers, "available", lambda device: 10_000_000_000)
    line = handlers.estimate(LOCAL, "Qwen/Qwen3-0.6B", "demo")
    assert "A download of 1.19 GB" in line and "1.55 GB of CPU memory" in line and "10 GB are free" in line
    line = handlers.estimate(LOCAL, "meta-llama/Llama-3.1-8B-Instruct", "demo")
    assert line.startswith("**Too large for this machine")
    assert "Gated" in handlers.estimate(LOCAL, "google/gemma-3-1b-it", "demo")
    assert "On this machine" in handlers.estimate(LOCAL, str(tiny), "demo")
    assert "asked for its size first" in handlers.estimate(LOCAL, "somebody/something", "demo")
    small = PUBLIC.__class__(public=True, model_bytes=500_000_000)
    assert "this host, which takes 500 MB" in handlers.estimate(small, "Qwen/Qwen3-0.6B", "demo")
    for name in ("/no/such/folder", "gpt2", ""):
        assert "There is no model" in handlers.estimate(LOCAL, name, "demo")
    assert "no hub id" in handlers.estimate(PUBLIC, str(tiny), "demo")


def test_tokens_are_counted_and_too_few_are_said(tiny, tmp_path) -> None:
    assert "32,768 tokens of 'demo' (128 × 256)" in handlers.estimate(LOCAL, "demo", "demo")
    text = tmp_path / "short.txt"
    text.write_text("The little fox. " * 400)
    line = handlers.estimate(LOCAL, "demo", "demo", str(text))
    assert "shorter than the 32,768 tokens" in line and "short.txt" in line and str(tmp_path) not in line
    text.write_text("The little fox. " * 80)
    line = handlers.estimate(LOCAL, "demo", "demo", str(text))
    assert "**Too few tokens.**" in line and "The widest layer has" in line
    text.write_text("The little fox.")
    assert "one window takes 256" in handlers.estimate(LOCAL, "demo", "demo", str(text))
    text.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in handlers.estimate(LOCAL, "demo", "demo", str(text))
    assert "writes 32,768 tokens itself" in handlers.estimate(LOCAL, "demo", "self")
    assert "about " in handlers.estimate(LOCAL, "Qwen/Qwen3-0.6B", "demo")
    assert "c4-sample" in handlers.estimate(LOCAL, "demo", "c4")  # tests are offline


@pytest.fixture
def online(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hubs, "PIECE", 4096)
    monkeypatch.chdir(tmp_path)

    @contextmanager
    def serve(hub: Hub):
        with serving(hub) as address:
            monkeypatch.setenv("HF_ENDPOINT", address)
            yield hub

    yield serve
    huggingface_hub.close_session()


def pressed(house, name: str, token: str | None = None, session: str = "somebody"):
    """What the page is told while a model is loaded."""
    recipe = house.recipe({"model": name, "text": "demo", "windows": 4, "window": 32})
    return handlers.load(house, recipe, token, session)


def test_a_hub_model_is_loaded_with_bytes(house, online, tiny) -> None:
    with online(Hub.of(tiny, pace=0.05)):
        *lines, (last, view) = pressed(house, NAME)
    assert any(line.startswith("Download: ") and "kB of 1" in line for line, _ in lines), lines
    assert last == "" and view.ready and view.recipe.model == NAME and house.loaded(NAME) is not None


def test_a_failure_and_a_stop_keep_the_earlier_model(house, online, tiny) -> None:
    with online(Hub.of(tiny, refusal=(500, ""))):
        told = list(guarded(pressed(house, NAME), lambda line: (line, None)))
    assert "status 500" in told[-1][0] and told[-1][1] is None
    with online(Hub.of(tiny, pace=0.05)):
        running = pressed(house, NAME)
        for line, _ in running:
            if line.startswith("Download: "):
                break
        house.next_turn("somebody")  # as the button does
        told = list(running)
    assert told[-1] == (handlers.STOPPED, None) and house.loaded(NAME) is None
    assert house.view(house.recipe({"model": "demo"})).ready


def test_a_token_is_handed_to_the_hub_and_not_shown(house, online, tiny) -> None:
    secret = "hf_" + "q" * 30
    with online(Hub.of(tiny, refused_files=(403, "GatedRepo"), token=secret)):
        assert "gated" in list(guarded(pressed(house, NAME), lambda line: (line, None)))[-1][0]
        told = list(pressed(house, NAME, secret))
    assert told[-1][1].ready and not any(secret in line for line, _ in told)


def test_device_and_dtype_by_hand(house, tiny) -> None:
    """They are said beforehand, hold until others are asked for, and a device that is not there changes nothing."""
    recipe = house.recipe({"model": str(tiny), "text": "demo", "windows": 4, "window": 32})
    narrow, wide = Way("cpu", "bfloat16"), Way(None, "float32")

    def loaded(way: Way) -> str:
        *_, (_, view) = handlers.load(house, recipe, None, "a", way)
        assert view.ready and view.study.setting(4).dtype == house.loaded(str(tiny)).dtype
        return house.loaded(str(tiny)).dtype

    assert loaded(narrow) == "bfloat16" and house.model(str(tiny)).dtype == "bfloat16"
    told = list(guarded(handlers.load(house, recipe, None, "b", Way("gpu", None)), lambda line: (line, None)))
    assert "no device 'gpu'" in told[-1][0] and house.loaded(str(tiny)).dtype == "bfloat16"
    assert loaded(wide) == "float32" and loaded(narrow) == "bfloat16"
    assert loaded(handlers.AUTOMATIC) == "float32", "as its folder says"


def test_a_dtype_weighs_what_it_weighs(monkeypatch) -> None:
    monkeypatch.setattr(handlers, "available", lambda device: 10_000_000_000)
    twice = handlers.estimate(LOCAL, "Qwen/Qwen3-0.6B", "demo", way=Way(None, "float32"))
    assert "A download of 1.19 GB" in twice and "3.1 GB of CPU memory" in twice
    whole, half = (handlers.memory_line(LOCAL, "demo", locate("demo"), Way("cpu", d)) for d in ("float32", "bfloat16"))
    taken = [float(re.search(r"about ([\d.]+) MB", line)[1]) for line in (whole, half)]
    assert taken[0] == pytest.approx(2 * taken[1], rel=0.02)


def test_a_cpu_that_is_slow_in_bfloat16_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(room, "CPUINFO", tmp_path / "cpuinfo")
    for flags, slow in (("fpu sse avx2", True), ("fpu avx2 avx512f avx512bw", False), (None, False)):
        room.slow_bfloat16.cache_clear()
        if flags:
            room.CPUINFO.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: x\n")
        else:
            room.CPUINFO.unlink()
        told = [handlers.memory_line(LOCAL, "demo", locate("demo"), Way("cpu", d)) for d in ("bfloat16", "float32")]
        assert ["slowly" in line for line in told] == [slow, False]
    room.slow_bfloat16.cache_clear()


def test_visitors_of_a_public_host_do_not_choose(tmp_path) -> None:
    house = House(Store(tmp_path), replace(PUBLIC, model_bytes=None, resident_bytes=None))
    finish(house.opening("demo", None, Way("cpu", "bfloat16")))
    assert house.loaded("demo").dtype == "float32"


def test_a_public_host_takes_no_folder(tiny) -> None:
    with pytest.raises(ModelNotFound):
        PUBLIC.check_model(str(tiny))


def test_pages_read_the_text_it_was_loaded_with(house, tiny):
    """A click on a layer reads the study of the text that was chosen, not that of the bundled one."""
    recipe = house.recipe({"model": str(tiny), "text": "c4-sample", "windows": 4, "window": 32})
    *_, (_, view) = handlers.load(house, recipe, None, "a")
    house.visit("a").settle_on(recipe, view.plan())
    seen = house.seen(str(tiny), "a")
    assert seen.ready and seen.study.text.name == "c4-sample" and seen.study.source == view.study.source
    assert not house.seen(str(tiny), "b").ready and house.seen("demo", "a").ready, "another visitor has another text"
