"""Spectra hold one unit at a time: the peak does not grow with the model."""

import json
import subprocess
import sys

import pytest

MB = 2**20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the mark of the highest memory")


def peak(method: str, blocks: int, held: int, text) -> dict:
    line = [sys.executable, "-m", "lowrank_core.bench.memory", "--method", method, "--blocks", blocks, "--held", held]
    line += ["--width", 256, "--inner", 1024, "--windows", 4, "--window", 32, "--calibrate", text]
    done = subprocess.run([str(w) for w in line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_the_peak_is_one_unit_whatever_the_number_of_blocks(tiny_file) -> None:
    few, many = (peak("asvd-i", blocks, 0, tiny_file) for blocks in (2, 6))
    assert (few["units"], many["units"]) == (14, 42) and few["largest"] == many["largest"]
    assert many["above"] < few["above"] + 6 * MB
    assert many["above"] < 3.5 * many["largest"]


def test_nothing_of_a_second_stage_is_kept(tiny_file) -> None:
    found = peak("nsvd-i", 2, 2**30, tiny_file)
    assert found["held"] == 0 and found["above"] < 7 * found["largest"]  # W − Ŵ at 11 ranks, of a block


def test_beyond_that_only_finished_factors_are_kept(tiny_file) -> None:
    found = peak("asvd-i", 5, 2**30, tiny_file)
    assert 0 < found["held"] < 5 * 4 * (2 * 4 * 256 * 512 + 3 * 256 * 1280)  # float32, every rank of every unit
    assert found["above"] < found["held"] + 3.5 * found["largest"]
