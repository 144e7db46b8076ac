"""The training script on a text of one's own: holds out, masks, resumes, and saves an ordinary model folder."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lowrank_core.demo import corpus, train
from lowrank_core.demo.exam import fact_accuracy, questions
from lowrank_core.demo.tokenizer import train_tokenizer

from ..tiny import tiny_text


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([tiny_text()], vocab_size=400, context=64)


def test_documents_are_held_out_whole_and_for_good():
    documents = [f"document {i}" for i in range(3000)]
    held = [d for d in documents if corpus.is_held_out(d)]
    assert 20 < len(held) < 120 and held == [d for d in documents if corpus.is_held_out(d)]


def test_only_replies_are_predicted(tokenizer):
    chat = [{"role": "user", "content": "Hello fox"}, {"role": "assistant", "content": "Hello"}]
    stream = corpus.encode_chats(tokenizer, [chat], 99)
    predicted = tokenizer.decode(stream.tokens[stream.mask].tolist())
    assert predicted == "Hello<|end|>"
    assert tokenizer.decode(stream.tokens.tolist()) == "<|user|>Hello fox<|end|><|assistant|>Hello<|end|><|endoftext|>"


def test_chat_template_is_what_the_training_saw(tokenizer):
    messages = [{"role": "user", "content": "Hello fox"}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == "<|user|>Hello fox<|end|><|assistant|>"


def test_batches_depend_on_seed_and_step_alone():
    stream = corpus.Stream(np.arange(1000, dtype=np.uint16) % 300, np.ones(1000, bool), np.arange(0, 1000, 50))
    samplers = [corpus.Sampler({"a": stream}, {"a": 1.0}, {"a"}, 3) for _ in range(2)]
    one, two = (s.batch(7, 4, 16) for s in samplers)
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert (one[1][one[1] >= 0] == (one[0] + 1)[one[1] >= 0] % 300).all()


def _command(folder, tokens):
    text = folder / "text.txt"
    text.write_text("<|endoftext|>\n".join(tiny_text(20, seed) for seed in range(60)))
    shape = (
        "--hidden 32 --intermediate 48 --blocks 2 --heads 2 --kv-heads 1 --vocab 400 "
        "--context 64 --window 32 --batch-tokens 256"
    )
    return [
        "--out", str(folder / "out"), "--work", str(folder / "work"), "--tokens", str(tokens), "--device", "cpu",
        "--no-compile", "--domain", f"own=1:{text}", "--checkpoint-every", "0", *shape.split(),
    ]  # fmt: skip


def test_training_resumes_and_saves_a_model(tmp_path):
    first = CliRunner().invoke(train.app, _command(tmp_path, 10_000))
    assert first.exit_code == 0, first.output
    state = json.loads((tmp_path / "work/checkpoint/state.json").read_text())
    assert state["seen"] >= 10_000
    again = CliRunner().invoke(train.app, _command(tmp_path, 20_000))
    assert again.exit_code == 0, again.output
    after = json.loads((tmp_path / "work/checkpoint/state.json").read_text())
    assert after["step"] > state["step"] and after["seen"] < 2 * 20_000

    from lowrank_core.models.loading import load_model

    loaded = load_model(tmp_path / "out", "cpu")
    assert loaded.dtype == "bfloat16" and len(loaded.anatomy.sites) == 14


def test_the_bundled_model_knows_its_world():
    import torch

    from lowrank_core.models.loading import load_model

    torch.set_num_threads(1)
    bundled = load_model("demo", "cpu")
    assert 6e6 < bundled.parameters < 20e6
    assert fact_accuracy(bundled.model, bundled.tokenizer, questions(60)) >= 0.9
