"""What the spectra stage needs in memory, measured: `python -m lowrank_core.bench.memory [MODEL] --method METHOD`.

On a LLaMA of random weights, d = 512 and 1408 wide (float32, Linux, one thread), the peak above the loaded model is
46 MB with `asvd-i`, 75 MB with `nsvd-i` and 96 MB with `two-sided`, the same for 2 blocks and for 8, where one unit's
gram, weight and float64 factors take 35 MB; and the finished factors that are kept for slicing: 141 MB for 8 blocks of
`asvd-i`, at most `settings.FACTORS_HELD`.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from ..jobs import finish


@dataclass(frozen=True)
class Peak:
    """Bytes of resident memory while the spectra of a model were made."""

    model: str
    method: str
    units: int
    before: int  # with the model loaded, its statistics on disk and one unit factorized to warm up
    above: int  # the highest point of the stage, less `before`
    held: int  # of that, finished factors kept for slicing
    largest: int  # one unit's gram, weight and float64 factors: what no factorization does without


def peak_of_spectra(
    model: str, text: str, method: str, windows: int, window: int | None, held: int | None = None
) -> Peak:
    """The Peak of one method's spectra; `held`: most bytes of factors to keep, else what a workbench keeps.

    *Limits*: Linux, whose kernel keeps the mark; and what the allocator does not return counts.
    """
    from ..evaluation.memory import forget_peak, resident
    from ..settings import FACTORS_HELD
    from ..store import Store
    from ..study.compress import open_workbench
    from ..study.recipe import Recipe
    from ..study.shelf import Shelf
    from ..study.units import units_of

    recipe = Recipe(model=model, text=text, method=method, windows=windows, window=window)
    with tempfile.TemporaryDirectory() as folder:
        bench = open_workbench(recipe, Store(folder), "cpu")
        units = units_of(bench.loaded.anatomy.sites, recipe)
        finish(bench.calibrate())
        if recipe.gradients:
            finish(bench.collect_fisher())
        bench.factorization(max(units, key=lambda u: u.parameters))
        shelf = bench._factorizations = Shelf(FACTORS_HELD if held is None else held)
        forget_peak()
        before = resident("VmRSS")
        finish(bench.spectra(units))
        above = resident("VmHWM") - before
        largest = max(8 * (u.d_in**2 + 2 * u.parameters + u.max_rank * (u.d_in + u.d_out)) for u in units)
        return Peak(bench.loaded.name, method, len(units), before, above, shelf.held, largest)


def random_llama(folder: Path, width: int = 512, inner: int = 1408, blocks: int = 8) -> Path:
    """Save a LLaMA of random weights, with the bundled model's tokenizer, to a folder."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from ..settings import DEMO_MODEL

    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL)
    config = LlamaConfig(
        hidden_size=width, intermediate_size=inner, num_hidden_layers=blocks, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=256, vocab_size=len(tokenizer), tie_word_embeddings=True,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of the spectra stage.")
    parser.add_argument("model", nargs="?", default="random", help="a model folder, demo, or random: made on the fly")
    parser.add_argument("--method", default="asvd-i")
    parser.add_argument("--calibrate", default="demo", metavar="TEXT")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--window", type=int, default=None)
    parser.add_argument("--held", type=int, default=None, help="most bytes of finished factors to keep")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--inner", type=int, default=1408)
    parser.add_argument("--blocks", type=int, default=8)
    arguments = parser.parse_args()
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:  # glibc would keep freed tensors in its heap, and they would count
        os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
        os.execv(sys.executable, [sys.executable, "-m", __spec__.name, *sys.argv[1:]])
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model
        if model == "random":
            model = str(random_llama(Path(folder), arguments.width, arguments.inner, arguments.blocks))
        peak = peak_of_spectra(
            model, arguments.calibrate, arguments.method, arguments.windows, arguments.window, arguments.held
        )
    print(json.dumps(asdict(peak)))


if __name__ == "__main__":
    main()
