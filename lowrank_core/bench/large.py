"""A model of a billion parameters goes the whole way on a small machine: seconds, peak memory and bytes, measured.

    python -m lowrank_core.bench.large make FOLDER                    # random bfloat16 weights of TinyLlama's shape
    python -m lowrank_core.bench.large run FOLDER OUT --seconds 240   # again and again: each call goes on where the
                                                                      # last one stopped, and the last one prints all
    python -m lowrank_core.bench.large run FOLDER OUT --recipe best
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..jobs import Job, Progress

SHAPE = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
         "num_key_value_heads": 4, "vocab_size": 32000, "max_position_embeddings": 2048,
         "tie_word_embeddings": False}  # fmt: skip


@dataclass
class Report:
    """What a run has taken so far, over all of its pieces."""

    model: str
    recipe: dict[str, Any]
    weights: int  # bytes of the dense model
    pieces: int = 0
    bare: int = 0  # bytes of memory of the process before it loads anything, the largest of the pieces'
    seconds: dict[str, float] = field(default_factory=dict)  # stage → seconds, loading again in each piece included
    peaks: dict[str, int] = field(default_factory=dict)  # stage → most bytes above the bare process
    stored: int = 0  # bytes in the store
    saved: int = 0  # bytes of the compressed folder; 0: not there yet
    ratio: float = 0.0

    @property
    def peak(self) -> float:
        """The highest peak over the weights."""
        return max(self.peaks.values(), default=0) / self.weights


def make(folder: Path, blocks: int = SHAPE["num_hidden_layers"], seed: int = 0) -> Path:
    """Save a bfloat16 LLaMA of random weights of TinyLlama's shape, with the bundled model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from ..settings import DEMO_MODEL

    torch.manual_seed(seed)
    model = LlamaForCausalLM._from_config(LlamaConfig(**{**SHAPE, "num_hidden_layers": blocks}), dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="500MB")
    AutoTokenizer.from_pretrained(DEMO_MODEL).save_pretrained(folder)
    return folder


def piece(report: Path, model: Path, out: Path, values: dict[str, Any], seconds: float) -> Report:
    """Go on with a run for so many seconds, and until more is stored: there the next piece goes on. Measured."""
    import torch

    from ..evaluation.memory import forget_peak, resident
    from ..store import Store
    from ..study.compress import run
    from ..study.recipe import recipe_of
    from ..study.steps import save

    torch.set_num_threads(os.cpu_count() or 1)
    recipe, store = recipe_of({**values, "model": str(model)}), Store(report.with_suffix(".store"))
    known = json.loads(report.read_text()) if report.exists() else None
    made = Report(**known) if known else Report(str(model), values, sum(f.stat().st_size for f in model.glob("*.saf*")))
    forget_peak()
    bare = resident("VmRSS")
    made.pieces, made.bare = made.pieces + 1, max(made.bare, bare)
    clock = _Watch(made, bare)

    def whole() -> Job[None]:
        compressed = yield from run.steps(recipe, store, "cpu", consume=True)
        yield Progress("save", 0, 1)
        made.ratio = compressed.ratio_achieved
        made.saved = save(compressed, out, recipe.storage)

    def kept() -> int:
        return sum(count for _, count, _ in store.entries())

    job, end, before = whole(), time.monotonic() + seconds, kept()
    try:
        for progress in job:
            clock.at(progress.stage)
            if time.monotonic() > end and kept() > before + 2:  # more than the anatomy and a half-done block
                break
    finally:
        job.close()
        clock.at("")
        made.stored = sum(size for _, _, size in store.entries())
        report.write_text(json.dumps(asdict(made), indent=1))
    return made


class _Watch:
    """Books seconds and the kernel's mark of the highest memory to stages."""

    def __init__(self, report: Report, bare: int):
        self.report, self.bare = report, bare
        self.stage, self.since = "load", time.monotonic()

    def at(self, stage: str) -> None:
        """A stage has been reached, or goes on."""
        from ..evaluation.memory import forget_peak, resident

        now, seconds, peaks = time.monotonic(), self.report.seconds, self.report.peaks
        seconds[self.stage] = seconds.get(self.stage, 0.0) + now - self.since
        peaks[self.stage] = max(peaks.get(self.stage, 0), resident("VmHWM") - self.bare)
        if stage != self.stage:
            forget_peak()
        self.stage, self.since = stage, now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("--blocks", type=int, default=SHAPE["num_hidden_layers"])
    running = commands.add_parser("run")
    running.add_argument("folder", type=Path)
    running.add_argument("out", type=Path)
    running.add_argument("--recipe", default=None, help="best; by default asvd-i")
    running.add_argument("--ratio", type=float, default=0.3)
    running.add_argument("--windows", type=int, default=16)
    running.add_argument("--window", type=int, default=128)
    running.add_argument("--calibrate", default="demo", metavar="TEXT")
    running.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    arguments = parser.parse_args()
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:  # glibc would keep freed tensors in its heap, and they would count
        os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
        os.execv(sys.executable, [sys.executable, "-m", __spec__.name, *sys.argv[1:]])
    if arguments.command == "make":
        make(arguments.folder, arguments.blocks)
        return
    from ..study.recipe import read_recipe

    values = {**(read_recipe(arguments.recipe) if arguments.recipe else {}), "ratio": arguments.ratio,
              "windows": arguments.windows, "window": arguments.window, "text": arguments.calibrate}  # fmt: skip
    report = arguments.out.with_name(arguments.out.name + ".json")
    made = piece(report, arguments.folder, arguments.out, values, arguments.seconds)
    print(json.dumps({**asdict(made), "peak_over_weights": round(made.peak, 3)}))


if __name__ == "__main__":
    main()
