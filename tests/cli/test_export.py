"""`export`: a compressed folder is measured, merged and pushed; and what `compress` promised is what lies on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lowrank_core.export.record import read_record
from lowrank_core.study.recipe import Recipe
from lowrank_core.study.spelling import from_query

from ..export.hub_stand_in import TOKEN, Upload, serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def compressed(tiny, tiny_file, tmp_path_factory):
    """A folder that `compress` wrote, and what it said."""
    from lowrank_core import cli

    folder = tmp_path_factory.mktemp("export") / "small"
    line = ["compress", str(tiny), "--ratio", "0.4", "--calibrate", str(tiny_file), "--out", str(folder)]
    assert cli.main([*line, "--windows", "6", "--window", "32", "--device", "cpu"]) == 0
    return folder


def weights(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.glob("*.safetensors"))


@pytest.mark.parametrize("storage", ["factored", "pivoted", "merged"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bytes_on_disk_are_the_bytes_promised(lowrank, tiny, tiny_file, small, tmp_path, storage, dtype) -> None:
    line = ("compress", tiny, "--ratio", "0.4", "--calibrate", tiny_file, "--storage", storage, "--dtype", dtype)
    found = lowrank(*line, "--out", tmp_path / "small", "--json", *small).found
    header = sum(int.from_bytes(f.read_bytes()[:8], "little") + 8 for f in (tmp_path / "small").glob("*.safetensors"))
    assert weights(tmp_path / "small") - header == pytest.approx(found["bytes_after"], rel=0.01)
    assert (found["bytes_after"] == found["bytes_before"]) == (storage == "merged")


def test_measure_merge_and_spell(lowrank, compressed, tiny, tiny_file, tmp_path) -> None:
    line = ("export", compressed, "--text", tiny_file, "--windows", "4", "--window", "32", "--device", "cpu")
    found = lowrank(*line, "--merged", tmp_path / "dense", "--json").found
    rows = found["measurements"]
    assert [r["model"] for r in rows] == ["dense", "compressed"] and rows[0]["perplexity"] != rows[1]["perplexity"]
    assert all((r["windows"], r["window"], r["dtype"], r["device"]) == (4, 32, "float32", "cpu") for r in rows)
    assert all(f"{r['perplexity']:.4f}" in (compressed / "README.md").read_text() for r in rows)
    assert found["merged"]["bytes_saved"] == 0 and weights(tmp_path / "dense") >= weights(compressed)
    assert "quantization_config" not in json.loads((tmp_path / "dense" / "config.json").read_text())
    assert "saves no bytes" in (tmp_path / "dense" / "README.md").read_text()
    assert found["recipe"]["command"].startswith(f"python -m lowrank_core compress {tiny}")
    recipe = read_record(compressed).recipe
    assert from_query(found["recipe"]["query"]).ratio == Recipe(**recipe).ratio == 0.4


def test_it_says_so_in_words(lowrank, compressed, tmp_path) -> None:
    said = lowrank("export", compressed, "--merged", tmp_path / "dense")
    assert said.code == 0 and "Merged saves no bytes" in said.out and "Made by: python -m lowrank_core" in said.out


def test_pushed_by_the_command(compressed, tmp_path) -> None:
    hub = Upload()
    known = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    with serving(hub) as address:
        known |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}

        def run() -> subprocess.CompletedProcess:
            command = [sys.executable, "-m", "lowrank_core", "export", str(compressed), "--hub", "me/small", "--json"]
            return subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, timeout=120)

        first, second = run(), run()
    found = json.loads(first.stdout)
    assert first.returncode == 0 and found["hub"]["private"] and hub.repositories["me/small"]["private"]
    assert found["hub"]["repository"] == "me/small" and TOKEN not in first.stdout + first.stderr
    assert second.returncode == 2 and "exists already" in second.stderr and "Traceback" not in second.stderr
    assert TOKEN not in second.stdout + second.stderr


def test_what_is_no_folder_of_ours(lowrank, tiny, tmp_path) -> None:
    for folder in (tiny, tmp_path, tmp_path / "nowhere"):
        assert "no folder with a compressed model" in lowrank("export", folder).refused()
