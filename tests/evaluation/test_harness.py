"""Tasks of lm-evaluation-harness on dense and compressed models; without the harness, how that is said."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lowrank_core.errors import BadValue, ExtraMissing
from lowrank_core.evaluation import harness
from lowrank_core.evaluation.harness import check_tasks

ROOT = Path(__file__).resolve().parents[2]
needs_harness = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="NO lm_eval: pip install '.[eval]' to run tasks"
)
TASK = """task: cow-says
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
output_type: multiple_choice
test_split: test
doc_to_text: "<|user|>{{{{question}}}}<|end|><|assistant|>"
target_delimiter: ""
doc_to_choice: choices
doc_to_target: 0
metric_list:
  - metric: acc
"""


@pytest.fixture
def task(tmp_path):
    """A task of one's own: what animals say, the right answer first."""
    rows = [{"question": f"What does a {a} say?", "choices": [f"A {a} says {b}.", "Seven times nine is blue."]}
            for a, b in (("cow", "moo"), ("duck", "quack"), ("dog", "woof"), ("cat", "meow"))]  # fmt: skip
    data = tmp_path / "says.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    file = tmp_path / "cow.yaml"
    file.write_text(TASK.format(data=data))
    return file


def test_without_the_harness_a_hint_says_how_to_get_it() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "LIBRARY", "no_such_library")
        with pytest.raises(ExtraMissing) as missing:
            check_tasks(["hellaswag"])
    assert "not installed" in missing.value.message and ".[eval]" in missing.value.hint


def test_the_extra_is_declared() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(line.startswith("lm-eval") for line in extras["eval"])


def test_files_that_are_no_tasks(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(harness, "LIBRARY", "json")  # there, so that the files are looked at
    (tmp_path / "a.yaml").write_text("colour: red")
    for name in ("a.yaml", "nowhere.yaml"):
        with pytest.raises(BadValue, match="no file of a task"):
            check_tasks([str(tmp_path / name)])


def evaluated(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lowrank_core", "evaluate", *arguments, "--json"]
    return subprocess.run(command, cwd=ROOT, env=os.environ.copy(), capture_output=True, text=True, timeout=300)


@needs_harness
def test_a_task_of_one_s_own_on_dense_and_compressed(task, tmp_path) -> None:
    import lowrank_core as lr

    lr.save(lr.run(lr.Recipe(ratio=0.3, windows=8, method="svd", allocator="uniform")), tmp_path / "small")
    for model in ("demo", str(tmp_path / "small")):
        done = evaluated(model, "--tasks", str(task), "--limit", "3")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["results"] == [] and found["tasks"][0]["task"] == "cow-says"
        assert found["tasks"][0]["samples"] == 3 and found["tasks"][0]["limit"] == 3
        assert found["tasks"][0]["metrics"]["acc,none"] == 1.0


@needs_harness
def test_a_task_the_harness_does_not_know() -> None:
    done = evaluated("demo", "--tasks", "no-such-task")
    assert done.returncode == 2 and "no task 'no-such-task'" in done.stderr and "Traceback" not in done.stderr
