"""A method is one file and one line: the README's example, added to a copy of the library, is offered everywhere."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = "channel-norms"

ASKED = """
import contextlib, io, json, sys
import torch
from lowrank_core.bench.grid import Grid
from lowrank_core.cli import main, options
from lowrank_core.methods import METHODS
from lowrank_core.study.compress import run
from lowrank_core.study.recipe import Recipe

torch.set_num_threads(1)
model, text = sys.argv[1:]
recipe = Recipe(model=model, text=text, windows=6, window=24, ratio=0.4)
recipe = recipe.model_copy(update={"method": "channel-norms", "parameters": {"power": 0.5}})
compressed = run(recipe, device="cpu")
help_said = io.StringIO()
with contextlib.redirect_stdout(help_said):
    code = main(["compress", "--help"])
grid = Grid(model, (text,), (text,), (0.3,), tuple(METHODS), ("uniform",), (0,), 6, 4, 24, 2)

from lowrank_core.ui import build, squeeze
squeeze.DEFAULTS = recipe.model_copy(update={"method": "asvd-i", "parameters": {}})
run(squeeze.DEFAULTS, device="cpu")
page = build.build()
menu = next(b for b in page.blocks.values() if getattr(b, "elem_id", None) == "method")
print(json.dumps({
    "where": METHODS["channel-norms"].factorize.__code__.co_filename,
    "methods": list(METHODS),
    "ratio": compressed.ratio_achieved,
    "predicted": compressed.predicted_nll,
    "ranks": list(compressed.ranks.values()),
    "help": [code, " ".join(help_said.getvalue().split())],
    "completion": options.complete(METHODS)(),
    "menu": [value for _, value in menu.choices],
    "grid": [recipes[0].method for recipes in grid.recipes()],
}))
"""


def example() -> str:
    """The README's method, from its fenced block."""
    (code,) = [
        b for b in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S) if "METHOD =" in b
    ]
    return code


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of the library with the example in it: one file, one line and its import."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "lowrank_core", folder / "lowrank_core", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "assets").symlink_to(ROOT / "assets")
    methods = folder / "lowrank_core" / "methods"
    (methods / "channel_norms.py").write_text(example(), "utf-8")
    registry = (methods / "__init__.py").read_text("utf-8")
    registry = registry.replace("from . import asvd_0,", "from . import channel_norms, asvd_0,")
    registry = registry.replace("        svd.METHOD,\n", "        svd.METHOD,\n        channel_norms.METHOD,\n")
    (methods / "__init__.py").write_text(registry, "utf-8")
    return folder


def test_the_example_is_about_thirty_lines() -> None:
    assert 25 <= len(example().splitlines()) <= 35


def test_the_example_is_offered_everywhere_and_compresses_a_model(copy, tiny, tiny_file) -> None:
    environment = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", ASKED, str(tiny), str(tiny_file)],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["where"].startswith(str(copy))
    assert said["methods"] == said["completion"] == said["menu"] == said["grid"] and KEY in said["methods"]
    assert said["help"][0] == 0 and f"{KEY}: Scales each input channel by the norm" in re.sub(
        r"[│\s]+", " ", said["help"][1]
    )
    assert 0.4 <= said["ratio"] + 1e-12 < 0.42 and said["predicted"] > 0 and any(said["ranks"])


def test_the_example_keeps_what_every_method_promises(copy) -> None:
    """The suite's own tests of the methods, on the copy: parametrised over its registry, they cover it for free."""
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__", "test_new_method.py"))
    shutil.copy(ROOT / "pyproject.toml", copy / "pyproject.toml")
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/methods", "-k", KEY]
    done = subprocess.run(line, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 10
