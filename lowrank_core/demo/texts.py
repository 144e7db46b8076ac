"""Make the bundled calibration and test texts: `python -m lowrank_core.demo.texts`.

A quarter each: conversations of the generator, and text the bundled model writes itself as chat, prose and
encyclopedia, document by document in turn. The test text uses held-out phrasings and plots, and other seeds.
"""

import itertools
import random
from collections.abc import Iterator
from typing import Annotated

import torch
import typer

from ..models.loading import LoadedModel, load_model
from ..settings import TEXTS_FOLDER
from .tokenizer import END_OF_TEXT
from .world import conversation

BYTES = 256_000
BATCH = 32
PROSE_OPENINGS = (
    "Once upon a time",
    "There was once a",
    "The old woman",
    "The little boy",
    '"Come here," said',
    "In the morning",
    "A long time ago",
    "The king",
    "When the sun went down",
    "They walked along the road",
    "The princess",
    "One day",
    '"I do not know," said',
    "The sea was",
    "It was a cold night",
    "The captain",
    "Her mother",
    "At last they came",
)
WIKI_OPENINGS = (
    "The town is",
    "He was born in",
    "The species is",
    "The river",
    "She is a",
    "The company was founded in",
    "The village is located in",
    "The album was",
    "The school is",
    "The station",
    "The film is",
    "The county",
    "The team played",
    "The battle of",
    "The university",
    "The museum",
    "A type of",
    "The building was built in",
)


def as_chat(messages: list[dict[str, str]]) -> str:
    """A conversation in the model's chat template, as text."""
    return "".join(f"<|{m['role']}|>{m['content']}<|end|>" for m in messages)


@torch.no_grad()
def write(loaded: LoadedModel, openings: list[str], tokens: int, temperature: float, seed: int) -> list[str]:
    """What the model writes after each opening, at most `tokens` more tokens, cut at the end of the document."""
    tokenizer = loaded.tokenizer
    tokenizer.padding_side = "left"
    torch.manual_seed(seed)
    inputs = tokenizer(
        openings, add_special_tokens=False, return_tensors="pt", padding=True, return_token_type_ids=False
    )
    out = loaded.model.generate(
        **inputs, max_new_tokens=tokens, do_sample=True, temperature=temperature, top_k=0, top_p=1.0
    )
    new = out[:, inputs.input_ids.shape[1] :]
    return [
        o + t.split(END_OF_TEXT)[0].rstrip("\ufffd") for o, t in zip(openings, tokenizer.batch_decode(new), strict=True)
    ]


def generated(seed: int, held_out: bool) -> Iterator[str]:
    """Conversations of the generator."""
    rng = random.Random(f"texts-{seed}-{held_out}")
    while True:
        yield as_chat(conversation(rng, held_out))


def written_chats(loaded: LoadedModel, seed: int, held_out: bool) -> Iterator[str]:
    """First questions of the generator, answered by the model."""
    rng = random.Random(f"chats-{seed}-{held_out}")
    for step in itertools.count():
        asked = [as_chat(conversation(rng, held_out)[:1]) + "<|assistant|>" for _ in range(BATCH)]
        for text in write(loaded, asked, 220, 0.7, seed + step):
            yield text.split("<|end|>")[0] + "<|end|>" + text.split("<|end|>")[1] + "<|end|>"


def written_prose(loaded: LoadedModel, openings: tuple[str, ...], seed: int) -> Iterator[str]:
    """Documents the model writes from a few words of ours."""
    rng = random.Random(f"prose-{openings[0]}-{seed}")
    for step in itertools.count():
        yield from write(loaded, [rng.choice(openings) for _ in range(BATCH)], 400, 0.8, seed + step)


def interleave(sources: list[Iterator[str]], size: int) -> str:
    """Documents of all sources in turn, the source that is shortest so far next, until `size` bytes."""
    lengths, pieces = [0] * len(sources), []
    while sum(lengths) < size:
        which = lengths.index(min(lengths))
        piece = next(sources[which]).strip() + f"{END_OF_TEXT}\n"
        lengths[which] += len(piece.encode())
        pieces.append(piece)
    return "".join(pieces).encode()[:size].decode("utf-8", "ignore")


def main(model: Annotated[str, typer.Option(help="the model that writes")] = "demo") -> None:
    """Write demo.calib.txt and demo.test.txt into assets/texts."""
    loaded = load_model(model)
    for file, seed, held_out in (("demo.calib.txt", 1, False), ("demo.test.txt", 100_001, True)):
        sources = [
            generated(seed, held_out),
            written_chats(loaded, seed, held_out),
            written_prose(loaded, PROSE_OPENINGS, seed),
            written_prose(loaded, WIKI_OPENINGS, seed),
        ]
        (TEXTS_FOLDER / file).write_text(interleave(sources, BYTES), "utf-8")
        print(f"{file}: {BYTES} bytes")


if __name__ == "__main__":
    typer.run(main)
