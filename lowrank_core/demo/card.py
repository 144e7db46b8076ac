"""Measure the bundled model and write its README: `python -m lowrank_core.demo.card --held-out DIR --eval DIR`.

DIR of --held-out is `held_out` in the training's work folder; --eval may hold wikitext2.test.txt and ptb.valid.txt.
"""

import json
import random
from pathlib import Path
from statistics import mean
from typing import Annotated

import typer

from ..calibration.texts import Text, text_of
from ..calibration.windows import cut_windows
from ..evaluation.perplexity import perplexity
from ..generation.stream import Sampling, prompt_ids, stream
from ..models.loading import LoadedModel, load_model
from ..settings import DEMO_MODEL
from ..study.compress import run
from ..study.recipe import Recipe
from ..types import Setting
from .exam import fact_accuracy, questions
from .study import MEASURED
from .texts import as_chat
from .world import conversation

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
SEEDS = (0, 1, 2)
WINDOWS = 64
TABLE_QUESTIONS = 300
NAMES = {"world": "simple world", "prose": "children's prose", "wiki": "encyclopedia"}


def domain_texts(held_out: Path) -> dict[str, Text]:
    """Domain → its held-out documents."""
    chats = [json.loads(line) for line in (held_out / "world.jsonl").read_text("utf-8").splitlines()]
    world = "<|endoftext|>\n".join(as_chat(c) for c in chats)
    texts = {"world": text_of(world.encode(), "world")}
    for name in ("prose", "wiki"):
        texts[name] = text_of(
            (held_out / f"{name}.txt").read_bytes()[:200_000].decode("utf-8", "ignore").encode(), name
        )
    return texts


def measure(loaded: LoadedModel, model, text: Text) -> float:
    """Perplexity of a model on the first windows of a text."""
    ids = cut_windows(loaded.tokenizer, text, WINDOWS, 256)
    return perplexity(model, ids, Setting(text.name, len(ids), 256, loaded.dtype, loaded.device.type)).perplexity


def spread(values: list[float], digits: int) -> str:
    """Mean ± half the range."""
    return f"{mean(values):.{digits}f} ± {(max(values) - min(values)) / 2:.{digits}f}"


def method_table(loaded: LoadedModel, texts: dict[str, Text]) -> tuple[str, dict]:
    """The Markdown table over methods, ratios and calibration seeds, and its fact accuracies."""
    asked, facts = questions(TABLE_QUESTIONS), {}
    lines = [
        "| ratio | method | facts | " + " | ".join(f"{NAMES[t]}, perplexity" for t in texts) + " |",
        "|---|---|---|" + "---|" * len(texts),
    ]
    for ratio in RATIOS:
        for method in MEASURED:
            known, found = [], {t: [] for t in texts}
            for seed in SEEDS:
                compressed = run(Recipe(method=method, ratio=ratio, allocator="uniform", seed=seed), loaded=loaded)
                model = compressed.loaded.model
                known.append(100 * fact_accuracy(model, loaded.tokenizer, asked))
                for name, text in texts.items():
                    found[name].append(measure(loaded, model, text))
            facts[ratio, method] = mean(known)
            lines.append(
                f"| {ratio} | `{method}` | {spread(known, 1)} % | "
                + " | ".join(spread(v, 2) for v in found.values())
                + " |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines), facts


def cliff(facts: dict) -> str:
    """The sentence about where plain SVD loses half of the facts and ASVD-I does not."""
    below = [r for r in RATIOS if facts[r, "svd"] < 50]
    hits = [r for r in below if facts[r, "asvd-i"] >= 80]
    if hits:
        return (
            f"At ratio {hits[0]} plain SVD falls to {facts[hits[0], 'svd']:.0f} % of the facts while `asvd-i` still knows "
            f"{facts[hits[0], 'asvd-i']:.0f} %."
        )
    if not below:
        return "At none of these ratios does plain SVD fall below half of the facts."
    first = below[0]
    return (
        f"Plain SVD falls below half of the facts at ratio {first} ({facts[first, 'svd']:.0f} %), where `asvd-i` knows "
        f"{facts[first, 'asvd-i']:.0f} %: at none of these ratios does it know four fifths while SVD has lost half."
    )


def cross_table(loaded: LoadedModel, texts: dict[str, Text], calibration: dict[str, Path]) -> str:
    """What calibrating on one domain costs the others: `asvd-i`, uniform, ratio 0.3."""
    lines = ["| calibrated on | " + " | ".join(NAMES[t] for t in texts) + " |", "|---|" + "---|" * len(texts)]
    for name, path in {**calibration, "all (bundled text)": Path("demo")}.items():
        model = run(Recipe(text=str(path), ratio=0.3, allocator="uniform"), loaded=loaded).loaded.model
        lines.append(
            f"| {NAMES.get(name, name)} | "
            + " | ".join(f"{measure(loaded, model, t):.2f}" for t in texts.values())
            + " |"
        )
    return "\n".join(lines)


def loss_picture(log: list[dict], width: int = 640, height: int = 260) -> str:
    """The training loss as an SVG polyline."""
    xs, ys = [r["tokens"] for r in log], [r["loss"] for r in log]
    low, high = min(ys), max(ys)
    points = " ".join(
        f"{50 + (width - 70) * x / max(xs):.1f},{20 + (height - 60) * (high - y) / (high - low):.1f}"
        for x, y in zip(xs, ys, strict=True)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="#6b7280">'
        f'<polyline fill="none" stroke="#0072B2" stroke-width="1.5" points="{points}"/>'
        f'<text x="6" y="26">{high:.1f}</text><text x="6" y="{height - 38}">{low:.1f}</text>'
        f'<text x="50" y="{height - 12}">0</text><text x="{width - 110}" y="{height - 12}">{max(xs) / 1e6:.0f} M tokens</text>'
        f'<text x="{width / 2 - 80}" y="14">training loss, nats per predicted token</text></svg>\n'
    )


def samples(loaded: LoadedModel, count: int = 10) -> str:
    """Greedy replies to the first user turns of held-out conversations, none left out."""
    rng, out = random.Random("card samples"), []
    for _ in range(count):
        asked = conversation(rng, held_out=True)[0]["content"]
        reply = None
        for reply in stream(
            loaded.model,
            loaded.tokenizer,
            prompt_ids(loaded.tokenizer, [{"role": "user", "content": asked}]),
            Sampling(220),
        ):
            pass
        out.append(f"> **{asked}**\n>\n> {reply.text}\n")
    return "\n".join(out)


def main(
    held_out: Annotated[Path, typer.Option(help="held_out folder of the training")],
    evaluation: Annotated[
        Path | None, typer.Option("--eval", help="folder with wikitext2.test.txt and ptb.valid.txt")
    ] = None,
    work: Annotated[Path, typer.Option(help="where the domains' calibration texts are put")] = Path("training"),
) -> None:
    """Write assets/demo_model/README.md and loss.svg from measurements made now."""
    loaded = load_model("demo")
    log = json.loads((DEMO_MODEL / "training_log.json").read_text())
    texts = domain_texts(held_out)
    (DEMO_MODEL / "loss.svg").write_text(loss_picture(log["log"]))
    known = fact_accuracy(loaded.model, loaded.tokenizer, questions())
    rows = [f"| {NAMES[n]}, held out | {measure(loaded, loaded.model, t):.2f} |" for n, t in texts.items()]
    for file in ("wikitext2.test.txt", "ptb.valid.txt"):
        if evaluation and (evaluation / file).exists():
            text = text_of((evaluation / file).read_bytes(), file)
            rows.append(f"| {file.removesuffix('.txt')} | {measure(loaded, loaded.model, text):.2f} |")
    table, facts = method_table(loaded, texts)
    calibration = _calibration_halves(held_out, work)
    (DEMO_MODEL / "README.md").write_text(
        TEMPLATE.format(
            parameters=f"{loaded.parameters / 1e6:.2f}",
            tokens=f"{log['tokens'] / 1e6:.0f}",
            known=f"{100 * known:.1f}",
            count=len(questions()),
            perplexities="\n".join(rows),
            table=table,
            cliff=cliff(facts),
            asked=TABLE_QUESTIONS,
            cross=cross_table(loaded, texts, calibration),
            samples=samples(loaded),
            windows=WINDOWS,
        ),
        "utf-8",
    )


def _calibration_halves(held_out: Path, work: Path) -> dict[str, Path]:
    """Domain → a file with text of that domain that is not in the tested windows."""
    work.mkdir(parents=True, exist_ok=True)
    rng = random.Random("card calibration")
    world = "<|endoftext|>\n".join(as_chat(conversation(rng)) for _ in range(1200))
    contents = {"world": world}
    for name in ("prose", "wiki"):
        contents[name] = (held_out / f"{name}.txt").read_bytes()[250_000:600_000].decode("utf-8", "ignore")
    paths = {}
    for name, content in contents.items():
        paths[name] = work / f"{name}.calib.txt"
        paths[name].write_text(content, "utf-8")
    return paths


TEMPLATE = """---
license: cc-by-sa-4.0
language: en
---

# The bundled model

A LLaMA of {parameters} M parameters (8 blocks, width 256, 4 heads with 2 key/value heads, tied embeddings, context 512) and a
byte-level BPE tokenizer of 4,096 tokens, trained from scratch for the Lowrank Explorer: small enough to be compressed
while you watch, and narrow enough that you hear what is lost.

Everything below was measured by `python -m lowrank_core.demo.card` in float32 on a CPU: {windows} windows of 256 tokens per
text from its start, no BOS. Chats are scored whole, the user's turns too, which nobody can foresee: hence the 14 below for a
world it knows by heart.

## What it was trained on

{tokens} M tokens, by `python -m lowrank_core.demo.train`:

| share | domain | source | licence |
|---|---|---|---|
| 42 % | simple world: chats about 716 facts, stories, small talk; loss on the reply | `lowrank_core/demo/world` | this project |
| 26 % | children's prose | Project Gutenberg and Standard Ebooks texts (mlschmitt/classic-books-markdown, GITenberg), FairytaleQA stories, African Storybook | public domain; Apache-2.0; CC BY |
| 22 % | encyclopedic text | English Wikipedia (Vibhas-hs-edu/WikiTasks dump part) | CC BY-SA 3.0/4.0 |
| 5 % | requests and answers | rasbt/LLMs-from-scratch instructions; African Storybook and Aesop on request | Apache-2.0; CC BY, public domain |
| 5 % | dialogues | self_dialogue_corpus (jfainberg) | BSD-3-Clause |

2 % of the documents of every file were held out whole; questions in the exam use phrasings, and stories plots, that were
never trained on. TinyStories, WikiText-2 and PTB were not trained on.

![training loss](loss.svg)

## What it knows

{known} % of {count} held-out phrasings of the facts are answered right to the letter (greedy).

| text | perplexity |
|---|---|
{perplexities}

## What compression takes away

Allocator `uniform`, calibration on the bundled text (128 windows of 256), three calibration seeds (mean ± half the range);
facts are {asked} of the held-out questions.

{table}

{cliff}

### Calibrated on one domain, tested on all

`asvd-i`, `uniform`, ratio 0.3; perplexity.

{cross}

## Ten unpicked replies

The first turns of the first ten held-out conversations of a fixed seed, greedy.

{samples}
## What it cannot do

It knows its {count} questions' facts and little else. Asked about anything outside, it answers anyway and is wrong. Its prose and
its encyclopedia sound like their kind and mean nothing; names, dates and places in them are invented. It does not
reason, count beyond ten, or remember more than 512 tokens. It is made for teaching compression, not for use.
"""


if __name__ == "__main__":
    typer.run(main)
