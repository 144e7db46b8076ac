"""Rebuild the bundled model's shipped study: `python -m lowrank_core.demo.study`.

The same code that serves a user's model runs here; what ships are the summaries, spectra, measured points and
perplexities. Grams are computed again where they are needed.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from ..allocation import ALLOCATORS
from ..calibration.texts import read_text
from ..jobs import Job, finish
from ..kv.methods import DEFAULT as KV_DEFAULT
from ..methods import METHODS
from ..models.loading import load_model
from ..settings import BUNDLED_STUDY
from ..store import Store
from ..study.compress import evaluate, learn, open_workbench
from ..study.knowledge import Knowledge
from ..study.latents import calibrate_latents
from ..study.planning import make_plan
from ..study.recipe import Recipe
from ..study.units import units_of

MEASURED = ("asvd-i",)  # the others' points come when somebody asks for them
DRAGGED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
SHIPPED = ("anatomy", "channels", "spectrum", "points", "evaluation", "kv-curves")


def build(methods: list[str], store: Store, relay) -> None:
    """Spectra of all methods, and the points and perplexities of `methods`, measured into a store."""
    loaded = load_model("demo", "cpu")
    text = read_text("demo-test")
    relay(calibrate_latents.steps(open_workbench(Recipe(), store, loaded=loaded), KV_DEFAULT))
    for method in METHODS:
        recipe = Recipe(method=method)
        bench = open_workbench(recipe, store, loaded=loaded)
        units = units_of(bench.body.sites, recipe)
        relay(bench.calibrate())
        known = Knowledge.of(units, relay(bench.spectra(units)))
        relay(evaluate.steps(bench, text))
        for allocator in ALLOCATORS if method in methods else ():
            asked = recipe.model_copy(update={"allocator": allocator})
            plan = make_plan(asked, relay(learn(bench, asked, known)))
            relay(evaluate.steps(bench, text, None, asked, plan))
        for ratio in DRAGGED if method in methods else ():  # what the studio's slider comes by
            asked = recipe.model_copy(update={"allocator": "strs", "measure": "settled", "ratio": ratio})
            plan = make_plan(asked, relay(learn(bench, asked, known)))
            relay(evaluate.steps(bench, text, None, asked, plan))


def main(
    methods: Annotated[str, typer.Option(help="methods whose sensitivity is measured in full, by comma")] = ",".join(
        MEASURED
    ),
    work: Annotated[Path, typer.Option(help="the store it is measured into; a stopped run goes on from there")] = Path(
        "training/study"
    ),
) -> None:
    """Measure the bundled model's study on this CPU and put it into assets/study."""
    with Bar(console=Console(stderr=True)) as bar:
        task = bar.add_task("study")

        def relay(job: Job):
            return finish(job, lambda p: bar.update(task, description=p.stage, completed=p.done, total=p.total))

        build(methods.split(","), Store(work), relay)
    shutil.rmtree(BUNDLED_STUDY, ignore_errors=True)
    for kind in SHIPPED:
        if (work / kind).is_dir():
            shutil.copytree(work / kind, BUNDLED_STUDY / kind, ignore=shutil.ignore_patterns(".*"))


if __name__ == "__main__":
    typer.run(main)
