"""Tasks of lm-evaluation-harness on a loaded model; the harness is an extra (`eval`) and is imported when asked for."""

import contextlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadValue, ExtraMissing, TextNotFetched
from ..jobs import Job, Progress, job

if TYPE_CHECKING:
    from ..models.loading import LoadedModel

LIBRARY = "lm_eval"


@dataclass(frozen=True)
class TaskResult:
    """What a model scored on a task, as the harness computes it."""

    task: str
    metrics: dict[str, float]  # the harness's names, such as "acc,none"; "acc_stderr,none" beside it
    samples: int
    few_shot: int
    limit: int | None  # samples it was cut to, None: all of them


def check_tasks(tasks: Sequence[str]) -> None:
    """Nothing; ExtraMissing without the harness, BadValue for a file of a task that is not there."""
    if importlib.util.find_spec(LIBRARY) is None:
        raise ExtraMissing(
            "Tasks need lm-evaluation-harness, which is not installed.", "Run: pip install '.[eval]', or lm-eval."
        )
    for task in tasks:
        if _is_file(task):
            _task_name(Path(task))


@job
def run_tasks(
    loaded: "LoadedModel", tasks: Sequence[str], limit: int | None = None, few_shot: int | None = None, seed: int = 0
) -> Job[list[TaskResult]]:
    """The TaskResult of each task: a name that the harness knows, or the YAML file of one of your own.

    `limit`: of each task, the first samples only. `few_shot`: examples in the prompt, by default the task's own.
    Raises ExtraMissing, BadValue for a task that is none, TextNotFetched where its data cannot be read.
    """
    check_tasks(tasks)
    with _quiet():
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        folders = sorted({str(Path(t).resolve().parent) for t in tasks if _is_file(t)})
        manager = TaskManager(include_path=folders or None)
        model = HFLM(
            pretrained=loaded.model,
            tokenizer=loaded.tokenizer,
            max_length=loaded.folder.context,
            device=loaded.device.type,
            batch_size=1,
        )
    found = []
    for i, task in enumerate(tasks):
        yield Progress("tasks", i, len(tasks), task)
        name = _task_name(Path(task)) if _is_file(task) else task
        if not _is_file(task) and name not in manager.all_tasks:
            raise BadValue(f"The harness has no task {name!r}.", "`lm-eval ls tasks` lists them; or give a YAML file.")
        with _quiet():
            found += _run(model, name, manager, limit, few_shot, seed)
    yield Progress("tasks", len(tasks), len(tasks))
    return found


def _run(model: Any, name: str, manager: Any, limit: int | None, few_shot: int | None, seed: int) -> list[TaskResult]:
    """The results of a task, or of every task in a group."""
    from lm_eval import simple_evaluate

    try:
        said = simple_evaluate(
            model,
            tasks=[name],
            task_manager=manager,
            limit=limit,
            num_fewshot=few_shot,
            log_samples=False,
            bootstrap_iters=1000,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    except (OSError, ConnectionError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise TextNotFetched(f"The task {name!r} cannot be run: {reason}.", "Does it need a network?") from error
    rows = []
    for task, metrics in said["results"].items():
        numbers = {k: float(v) for k, v in metrics.items() if "," in k and isinstance(v, int | float)}
        samples = said["n-samples"].get(task, {}).get("effective", 0)
        rows.append(TaskResult(task, numbers, samples, int(said["n-shot"].get(task) or 0), limit))
    return rows


def _is_file(task: str) -> bool:
    return task.endswith((".yaml", ".yml"))


def _task_name(file: Path) -> str:
    """The name under which a task's YAML file is known; read as text, for it may hold the harness's own tags."""
    try:
        found = re.search(r"^task:\s*[\"']?([\w.+-]+)", file.read_text("utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        found = None
    if found is None:
        raise BadValue(f"{str(file)!r} is no file of a task.", "Give a YAML file of lm-evaluation-harness.")
    return found[1]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the harness prints goes to stderr: stdout is for results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
