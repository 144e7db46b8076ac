"""How the command line fails: one sentence, a hint, the exit code, and never a traceback unless it is asked for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lowrank_core import cli
from lowrank_core.errors import BadValue
from lowrank_core.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("ratio", ["-1", "0", "1", "abc", "nan", "1.5"])
@pytest.mark.parametrize("command", ["compress", "sensitivity", "bench quality"])
def test_a_ratio_that_is_none(lowrank, tiny, tiny_file, command, ratio) -> None:
    flag = "--ratio" if command == "compress" else "--ratios"
    said = lowrank(*command.split(), tiny, flag, ratio, "--calibrate", tiny_file)
    assert "ratio" in said.refused() and "above 0 and below 1" in said.err


@pytest.mark.parametrize("command", ["inspect", "sensitivity", "compress --ratio 0.3", "evaluate", "chat --prompt hi"])
def test_folders_that_are_no_models(lowrank, tiny, tiny_file, tmp_path, command) -> None:
    name, *more = command.split()
    text = {"evaluate": ("--text", tiny_file), "chat": ()}.get(name, ("--calibrate", tiny_file))
    assert "no model at" in lowrank(name, tmp_path, *more, *text).refused()

    broken = shutil.copytree(tiny, tmp_path / "broken")
    shard = broken / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:5000])
    assert "cut short or damaged" in lowrank(name, broken, *more, *text).refused()


@pytest.mark.parametrize("command", ["inspect", "compress --ratio 0.3", "evaluate"])
def test_texts_that_are_none(lowrank, tiny, tmp_path, command) -> None:
    name, *more = command.split()
    flag = "--text" if name == "evaluate" else "--calibrate"
    empty, latin, short = tmp_path / "empty.txt", tmp_path / "latin.txt", tmp_path / "short.txt"
    empty.write_text(" \n")
    latin.write_bytes("Größe".encode("latin-1"))
    short.write_text("Too short.")
    for file, sentence in (
        (empty, "is empty"),
        (latin, "not UTF-8"),
        (short, "a window has"),
        (tmp_path / "nowhere.txt", "There is no text"),
    ):
        assert sentence in lowrank(name, tiny, *more, flag, file).refused()


def test_a_compressed_model_is_not_compressed_again(lowrank, tiny, tiny_file, small, tmp_path) -> None:
    again = ("--ratio", "0.3", "--calibrate", tiny_file)
    assert lowrank("compress", tiny, *again, "--out", tmp_path / "c", *small).code == 0
    assert "already compressed" in lowrank("compress", tmp_path / "c", *again).refused()
    assert lowrank("inspect", tmp_path / "c", "--calibrate", tiny_file, "--json", *small).code == 0


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("compress MODEL", "No ratio is given"),
        ("compress --ratio 0.3", "Missing argument"),
        ("compress MODEL --ratio 0.3 --method mystery", "no method 'mystery'"),
        ("compress MODEL --ratio 0.3 --allocator mystery", "no allocator 'mystery'"),
        ("compress MODEL --ratio 0.3 --storage mystery", "no storage 'mystery'"),
        ("compress MODEL --recipe best", "No ratio is given"),
        ("compress MODEL --recipe nowhere.yaml", "cannot be read"),
        ("compress MODEL --ratio 0.3 --calibrate demo --device abacus", "no device 'abacus'"),
        ("compress MODEL --ratio 0.3 --calibrate demo --dtype int3", "no dtype 'int3'"),
        ("evaluate MODEL", "nothing to evaluate on"),
        ("evaluate MODEL --text demo --windows 0", "--windows"),
        ("evaluate MODEL --text demo --seed x", "--seed"),
        ("bench quality MODEL --methods svd mystery", "no method 'mystery'"),
        ("chat MODEL --json", "no JSON"),
        ("cache clear --kind ../elsewhere", "no kind"),
        ("compress MODEL --rato 0.3", "No such option"),
        ("mystery", "No such command"),
        ("bench", "Missing command"),
    ],
)
def test_usage(lowrank, tiny, line, sentence) -> None:
    assert sentence in lowrank(*(tiny if word == "MODEL" else word for word in line.split())).refused()


def test_help_lists_every_method(lowrank) -> None:
    for command in (("compress",), ("sensitivity",), ("bench", "quality")):
        said = lowrank(*command, "--help")
        assert said.code == 0 and all(key in said.out for key in METHODS)
    assert lowrank().code == 0 and "compress" in lowrank().out


def test_every_command_says_what_it_does(lowrank) -> None:
    for command in (
        "inspect",
        "sensitivity",
        "compress",
        "evaluate",
        "chat",
        "cache ls",
        "cache clear",
        "bench quality",
    ):
        assert "--json" in lowrank(*command.split(), "--help").out


def fail_with(monkeypatch, error: BaseException) -> None:
    def broken():
        raise error

    monkeypatch.setattr("lowrank_core.cli.cache.open_store", broken)


def test_our_mistakes(lowrank, monkeypatch) -> None:
    fail_with(monkeypatch, RuntimeError("two\nlines"))
    said = lowrank("cache", "ls")
    assert said.code == 1 and said.out == "" and "RuntimeError: two lines" in said.err.splitlines()[0]
    assert "Traceback" not in said.err and "--debug" in said.err
    for line in (("--debug", "cache", "ls"), ("cache", "ls", "--debug")):
        said = lowrank(*line)
        assert said.code == 1 and "Traceback" in said.err and "broken" in said.err


def test_ctrl_c(lowrank, monkeypatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    said = lowrank("cache", "ls")
    assert (said.code, said.out, said.err) == (130, "", "Stopped; what was measured is kept.\n")


def test_ctrl_c_keeps_what_was_measured(lowrank, tiny, tiny_file, small, monkeypatch) -> None:
    from lowrank_core.evaluation.sensitivity import Probe

    measure, calls = Probe.measure, []

    def stopping(self, *arguments):
        calls.append(arguments)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return measure(self, *arguments)

    line = ("sensitivity", tiny, "--calibrate", tiny_file, "--ratios", "0.5", "--json", *small)
    with monkeypatch.context() as patch:
        patch.setattr(Probe, "measure", stopping)
        assert lowrank(*line).code == 130
    assert lowrank(*line).found["forwards"] == 21 - 5 + 1


def test_warnings_of_ours_are_notes(lowrank, tiny, tiny_file, small, cache) -> None:
    line = ("evaluate", tiny, "--text", tiny_file, "--json", *small)
    first = lowrank(*line).found
    stored = next((cache / "evaluation").glob("*.json"))
    stored.write_text(stored.read_text()[:50])
    again = lowrank(*line)
    assert again.found == first and "cannot be read. It is computed again." in again.err
    assert len(again.err.splitlines()) == 1


def test_relay_draws_on_a_terminal_and_returns_the_value(monkeypatch, capsys) -> None:
    from lowrank_core.cli.relay import edge, relay
    from lowrank_core.jobs import Progress

    def job(ending=None):
        for i in range(3):
            yield Progress("first", i + 1, 3, "an item")
        yield Progress("second", 1, 1)
        if ending:
            raise ending
        return 42

    assert relay(job()) == 42 and capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert relay(job()) == 42 and capsys.readouterr().out == ""
    assert edge(lambda: relay(job(BadValue("No.", "Yes.")))) == 2
    assert "No.\nYes.\n" in capsys.readouterr().err


def fresh(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """The command line in a process of its own."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, *arguments],
        env=settings,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def test_a_fresh_process_says_json_only(tiny, tiny_file, small) -> None:
    """transformers' bars and warnings stay away, whatever its environment says."""
    line = (
        "-m",
        "lowrank_core",
        "compress",
        str(tiny),
        "--ratio",
        "0.3",
        "--calibrate",
        str(tiny_file),
        "--json",
        *small,
    )
    done = fresh(*line, TRANSFORMERS_VERBOSITY="warning", HF_HUB_DISABLE_PROGRESS_BARS="0")
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("{") and done.stdout.count("\n") == 1


@pytest.mark.parametrize("line", [["--help"], ["compress", "nowhere", "--ratio", "0.3"], ["cache", "ls"]])
def test_light_commands_load_no_torch(line) -> None:
    script = f"import sys; from lowrank_core.cli import main; main({line!r}); print('torch' in sys.modules)"
    assert fresh("-c", script).stdout.splitlines()[-1] == "False"


def test_spread() -> None:
    from lowrank_core.cli.variadic import spread

    flags = {"--text", "--seeds"}
    assert spread(["m", "--text", "a", "b", "--json"], flags) == ["m", "--text", "a", "--text", "b", "--json"]
    assert spread(["--seeds", "0", "-1", "--out", "x", "y"], flags) == [
        "--seeds",
        "0",
        "--seeds",
        "-1",
        "--out",
        "x",
        "y",
    ]
    assert spread(["--text=a", "b", "--text", "c"], flags) == ["--text=a", "--text", "b", "--text", "c"]
    assert callable(cli.main)
