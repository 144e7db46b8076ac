"""The README's scripts run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import lowrank_core as lr

ROOT = Path(__file__).resolve().parents[2]


def test_five_lines_load_a_saved_folder_and_generate(tmp_path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    script = next(b for b in blocks if "from_pretrained" in b)
    assert len(script.strip().splitlines()) == 5
    lr.save(lr.run(lr.Recipe(ratio=0.1, windows=8, method="svd", allocator="uniform")), tmp_path / "demo-30")
    known = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=known, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<|user|>What does a cow say?") and "moo" in done.stdout
