"""Train the bundled model, or one like it on your own text: `python -m lowrank_core.demo.train --help`.

Resumable: the same command goes on from the last checkpoint in its work folder. AdamW, a warm-up, a constant
rate, and a linear decay over the last quarter (so that a longer run may branch from any checkpoint before it).
"""

import itertools
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from . import corpus
from .corpus import Domain, Sampler, Stream
from .tokenizer import END_OF_TEXT, train_tokenizer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
IGNORED = -100


def parse_domain(spec: str) -> Domain:
    """A Domain from `name=share:file[,file…]`, or `world=share` for the generated world."""
    try:
        name, rest = spec.split("=", 1)
        share, _, files = rest.partition(":")
        return Domain(name, float(share), tuple(Path(f) for f in files.split(",") if f))
    except ValueError as error:
        raise typer.BadParameter(
            f"{spec!r} is not name=share:file[,file]; for example prose=0.3:stories.txt"
        ) from error


def prepare(domains: list[Domain], work: Path, vocab: int, context: int, limit: int, seed: int):
    """The tokenizer and one encoded Stream per domain, made once and kept in the work folder."""
    if not (work / "tokenizer" / "tokenizer.json").exists():
        pieces = itertools.chain.from_iterable(_sample(d, 12_000_000, seed) for d in domains)
        train_tokenizer(pieces, vocab, context).save_pretrained(work / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
    streams = {}
    (work / "held_out").mkdir(parents=True, exist_ok=True)
    for d in domains:
        path = work / f"{d.name}.npz"
        if not path.exists():
            wanted = int(limit * d.share / sum(x.share for x in domains))
            stream, held = _encode(tokenizer, d, wanted, seed)
            (work / "held_out" / f"{d.name}.{'txt' if d.kind == 'prose' else 'jsonl'}").write_text(held, "utf-8")
            stream.save(path)
        streams[d.name] = Stream.load(path)
    return tokenizer, streams


def _sample(d: Domain, size: int, seed: int):
    """About `size` characters of a domain, for the tokenizer."""
    if d.kind == "prose":
        texts = [t for t in corpus.documents(d.files) if not corpus.is_held_out(t)]
        random.Random(seed).shuffle(texts)
    else:
        items = corpus.world_chats(30_000, seed) if d.kind == "world" else corpus.chats(d.files)
        texts = ("\n".join(m["content"] for m in item) for item in items)
    used = 0
    for text in texts:
        yield text[: size - used]
        used += len(text)
        if used >= size:
            return


def _encode(tokenizer, d: Domain, limit: int, seed: int) -> tuple[Stream, str]:
    """The training stream and the held-out documents (as text or JSON lines) of one domain."""
    if d.kind == "prose":
        texts = list(corpus.documents(d.files))
        random.Random(seed).shuffle(texts)
        held = [t for t in texts if corpus.is_held_out(t)]
        kept = (t for t in texts if not corpus.is_held_out(t))
        return corpus.encode_prose(tokenizer, kept, limit), f"\n{END_OF_TEXT}\n".join(held)
    if d.kind == "chat":
        items = list(corpus.chats(d.files))
        random.Random(seed).shuffle(items)
        lines = [json.dumps(i) for i in items]
        held = [line for line in lines if corpus.is_held_out(line)]
        kept = (i for i, line in zip(items, lines, strict=True) if not corpus.is_held_out(line))
        return corpus.encode_chats(tokenizer, kept, limit), "\n".join(held)
    held = [json.dumps(c) for c in corpus.world_chats(1500, seed, held_out=True)]
    return corpus.encode_chats(tokenizer, corpus.world_chats(limit, seed), limit), "\n".join(held)


def rate(progress: float, step: int, peak: float, warmup: int = 200) -> float:
    """The learning rate at a share `progress` of the run: warm-up, constant, linear decay over the last quarter."""
    return peak * min(1.0, (step + 1) / warmup) * min(1.0, (1.0 - progress) / 0.25)


class Checkpoint:
    """Model, optimizer moments and position, as safetensors and JSON, renamed into place."""

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, model, optimizer, state: dict) -> None:
        fresh = self.folder.with_name("checkpoint.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        moments = {}
        for name, p in model.named_parameters():
            for key in ("exp_avg", "exp_avg_sq", "step"):
                moments[f"{name}.{key}"] = optimizer.state[p][key].detach().clone().contiguous()
        save_file({n: p.detach().contiguous() for n, p in model.named_parameters()}, fresh / "model.safetensors")
        save_file(moments, fresh / "moments.safetensors")
        (fresh / "state.json").write_text(json.dumps(state))
        old = self.folder.with_name("checkpoint.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            os.replace(self.folder, old)
        os.replace(fresh, self.folder)
        shutil.rmtree(old, ignore_errors=True)

    def load(self, model, optimizer) -> dict | None:
        folder = self.folder if self.folder.exists() else self.folder.with_name("checkpoint.old")
        if not folder.exists():
            return None
        weights, moments = load_file(folder / "model.safetensors"), load_file(folder / "moments.safetensors")
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(weights[name])
                optimizer.state[p] = {
                    k: moments[f"{name}.{k}"].to(p.device if k != "step" else "cpu")
                    for k in ("exp_avg", "exp_avg_sq", "step")
                }
        return json.loads((folder / "state.json").read_text())


def train(
    model,
    sampler: Sampler,
    work: Path,
    *,
    tokens: int,
    batch_tokens: int,
    window: int,
    context: int,
    peak: float,
    compile_step: bool,
    checkpoint_every: float,
) -> list[dict]:
    """The loss log, one row per 50 steps; the model is trained in place. Windows of `window` tokens for the
    first three quarters, of `context` tokens in the decay, so that long positions are learned at the end."""
    device = next(model.parameters()).device
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
        lr=peak,
        betas=(0.9, 0.95),
        fused=True,
    )
    checkpoint = Checkpoint(work / "checkpoint")
    state = checkpoint.load(model, optimizer) or {"seen": 0, "step": 0, "log": []}

    def loss_of(inputs, labels):
        hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden).float()
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)

    step_loss = torch.compile(loss_of) if compile_step else loss_of
    saved = time.monotonic()
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("training", total=tokens, completed=state["seen"], loss="")
        recent: list[float] = []
        while state["seen"] < tokens:
            progress = state["seen"] / tokens
            length = window if progress < 0.75 else context
            inputs, labels = sampler.batch(state["step"], batch_tokens // length, length)
            for group in optimizer.param_groups:
                group["lr"] = rate(progress, state["step"], peak)
            with torch.autocast(device.type, torch.bfloat16):
                loss = step_loss(torch.from_numpy(inputs).to(device), torch.from_numpy(labels).to(device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            state["seen"] += inputs.size
            state["step"] += 1
            recent.append(loss.item())
            if state["step"] % 50 == 0:
                state["log"].append({"tokens": state["seen"], "loss": sum(recent) / len(recent)})
                print(json.dumps(state["log"][-1]), flush=True) if not bar.console.is_terminal else None
                recent = []
            bar.update(task, completed=state["seen"], loss=f"loss {loss.item():.3f}")
            if time.monotonic() - saved > checkpoint_every:
                checkpoint.save(model, optimizer, state)
                saved = time.monotonic()
    checkpoint.save(model, optimizer, state)
    return state["log"]


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="where the finished model is written")],
    domain: Annotated[
        list[str], typer.Option(help="name=share:file[,file]; .txt prose or .jsonl chats; world=share is the generator")
    ],
    work: Annotated[Path, typer.Option(help="checkpoints, encoded text, held-out documents")] = Path("training"),
    tokens: Annotated[float, typer.Option(help="tokens to train on")] = 30e6,
    hidden: int = 256,
    intermediate: int = 640,
    blocks: int = 8,
    heads: int = 4,
    kv_heads: int = 2,
    vocab: int = 4096,
    context: int = 512,
    window: Annotated[int, typer.Option(help="tokens per window before the decay")] = 256,
    batch_tokens: int = 4096,
    rate: Annotated[float, typer.Option(help="peak learning rate")] = 2e-3,
    seed: int = 0,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    compile: Annotated[bool, typer.Option(help="torch.compile the step (needs a C++ compiler)")] = shutil.which("g++")
    is not None,
    checkpoint_every: Annotated[float, typer.Option(help="seconds between checkpoints")] = 120,
) -> None:
    """Train a small LLaMA from scratch and save it in bf16 with its tokenizer."""
    domains = [parse_domain(d) for d in domain]
    work.mkdir(parents=True, exist_ok=True)
    tokenizer, streams = prepare(domains, work, vocab, context, int(tokens), seed)
    torch.manual_seed(seed)
    end, turn_end = (tokenizer.convert_tokens_to_ids(t) for t in (END_OF_TEXT, tokenizer.eos_token))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=turn_end,
        pad_token_id=end,
        attn_implementation="eager" if device == "cpu" else "sdpa",  # compiled eager is faster on a CPU
    )
    model = LlamaForCausalLM(config).to(device)
    sampler = Sampler(streams, {d.name: d.share for d in domains}, {d.name for d in domains if d.kind != "prose"}, seed)
    log = train(
        model,
        sampler,
        work,
        tokens=int(tokens),
        batch_tokens=batch_tokens,
        window=window,
        context=context,
        peak=rate,
        compile_step=compile,
        checkpoint_every=checkpoint_every,
    )
    model.generation_config = GenerationConfig(eos_token_id=[turn_end, end], pad_token_id=end)
    model.config._attn_implementation = "sdpa"
    model.to("cpu", torch.bfloat16).save_pretrained(out, max_shard_size="9MB")
    tokenizer.save_pretrained(out)
    (out / "training_log.json").write_text(json.dumps({"tokens": int(tokens), "seed": seed, "log": log}))


if __name__ == "__main__":
    app()
