"""Training domains as flat token arrays: whole documents held out, the loss masked to replies in chats.

A domain is either *prose* (documents divided by a line `<|endoftext|>`) or *chat* (JSON lines with `turns`
or with `user` and `assistant`), or the generated simple world. Tokens are uint16, masks are bool: True where
the token is to be predicted.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from .tokenizer import END_OF_TEXT, END_OF_TURN, ROLES
from .world import conversation

HELD_OUT_SHARE = 0.02


@dataclass(frozen=True)
class Domain:
    """One kind of text: a name, its share of the training tokens, and the files it is read from."""

    name: str
    share: float
    files: tuple[Path, ...] = ()  # none: the generated world

    @property
    def kind(self) -> str:
        if not self.files:
            return "world"
        return "chat" if self.files[0].suffix == ".jsonl" else "prose"


def is_held_out(document: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether a document is kept out of training, decided by its hash alone."""
    return int(hashlib.sha256(document.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF < share


def documents(files: Iterable[Path]) -> Iterator[str]:
    """Every document of prose files, in order; a file without separators is one document."""
    for file in files:
        for document in file.read_text("utf-8").split(f"{END_OF_TEXT}\n"):
            if document.strip():
                yield document.strip()


def chats(files: Iterable[Path]) -> Iterator[list[dict[str, str]]]:
    """Every conversation of JSON-lines files, as chat messages that start with the user."""
    for file in files:
        for line in file.read_text("utf-8").splitlines():
            row = json.loads(line)
            turns = row.get("turns") or [row["user"], row["assistant"]]
            yield [{"role": ("user", "assistant")[i % 2], "content": str(turn)} for i, turn in enumerate(turns)]


def world_chats(count: int, seed: int, held_out: bool = False) -> Iterator[list[dict[str, str]]]:
    """`count` generated conversations; held-out ones use phrasings and story plots never trained on."""
    rng = random.Random(f"{seed}-{held_out}")
    for _ in range(count):
        yield conversation(rng, held_out=held_out)


@dataclass
class Stream:
    """A domain's tokens end to end."""

    tokens: np.ndarray  # (N,) uint16
    mask: np.ndarray  # (N,) bool, True where the token is predicted
    starts: np.ndarray  # (D,) int64, where each document starts

    def save(self, path: Path) -> None:
        np.savez(path, tokens=self.tokens, mask=self.mask, starts=self.starts)

    @classmethod
    def load(cls, path: Path) -> "Stream":
        with np.load(path) as data:
            return cls(data["tokens"], data["mask"], data["starts"])


def encode_prose(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str], limit: int) -> Stream:
    """Documents, each ended by the end-of-text token, up to `limit` tokens; everything is predicted."""
    end = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    tokens, starts, total = [], [], 0
    for text in texts:
        ids = np.array(tokenizer(text, add_special_tokens=False).input_ids + [end], dtype=np.uint16)
        starts.append(total)
        tokens.append(ids)
        total += len(ids)
        if total >= limit:
            break
    flat = np.concatenate(tokens)[:limit]
    return Stream(flat, np.ones(len(flat), bool), np.array(starts, np.int64))


def encode_chats(tokenizer: PreTrainedTokenizerFast, items: Iterable[list[dict[str, str]]], limit: int) -> Stream:
    """Conversations in the chat template, up to `limit` tokens; only replies and their end are predicted."""
    end, turn_end = (tokenizer.convert_tokens_to_ids(t) for t in (END_OF_TEXT, END_OF_TURN))
    role_ids = {role: tokenizer.convert_tokens_to_ids(token) for role, token in ROLES.items()}
    tokens: list[int] = []
    mask: list[bool] = []
    starts: list[int] = []
    for messages in items:
        starts.append(len(tokens))
        encoded = tokenizer([m["content"] for m in messages], add_special_tokens=False).input_ids
        for message, ids in zip(messages, encoded, strict=True):
            tokens += [role_ids[message["role"]], *ids, turn_end]
            mask += [False] + [message["role"] == "assistant"] * (len(ids) + 1)
        tokens.append(end)
        mask.append(False)
        if len(tokens) >= limit:
            break
    return Stream(np.array(tokens, np.uint16), np.array(mask, bool), np.array(starts, np.int64))


class Sampler:
    """Batches of windows that mix the domains by their shares; the n-th batch depends on the seed and n only."""

    def __init__(self, streams: dict[str, Stream], shares: dict[str, float], aligned: set[str], seed: int):
        self.streams, self.aligned, self.seed = streams, aligned, seed
        self.names = list(streams)
        total = sum(shares[n] for n in self.names)
        self.shares = np.array([shares[n] / total for n in self.names])

    def batch(self, step: int, batch: int, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and labels, both (batch, window) int64; label −100 where nothing is predicted.

        Chat windows start where a conversation starts, as they do when one chats; prose is cut anywhere.
        """
        rng = np.random.default_rng((self.seed, step))
        inputs = np.empty((batch, window), np.int64)
        labels = np.full((batch, window), -100, np.int64)
        for row, which in enumerate(rng.choice(len(self.names), batch, p=self.shares)):
            name = self.names[which]
            stream = self.streams[name]
            last = len(stream.tokens) - window - 1
            if name in self.aligned:
                start = int(rng.choice(stream.starts[: np.searchsorted(stream.starts, last)]))
            else:
                start = int(rng.integers(last))
            piece = stream.tokens[start : start + window + 1].astype(np.int64)
            inputs[row] = piece[:-1]
            keep = stream.mask[start + 1 : start + window + 1]
            labels[row, keep] = piece[1:][keep]
        return inputs, labels
