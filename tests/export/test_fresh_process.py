"""Loading in a process that knows nothing yet, in every order of imports, and without the library."""

import json

import pytest
import torch

from lowrank_core.export.save import save
from lowrank_core.models.loading import load_model

from ..zoo import tiny_of
from .conftest import IDS, RECIPE, STORED, compress, compress_by, logits, said

OURS, THEIRS = "import lowrank_core", "from transformers import AutoModelForCausalLM"
DEEP = "import transformers.modeling_utils"  # loads the table of quantizers, and torch
FORGET = "import sys; [sys.modules.pop(m) for m in list(sys.modules) if 'lowrank' in m]"
ORDERS = {
    "ours first": (OURS, THEIRS),
    "theirs first": (THEIRS, OURS),
    "theirs fully loaded first": (DEEP, THEIRS, OURS),
    "ours twice": (OURS, FORGET, OURS, THEIRS, "import lowrank_core.models.register as r; r.register(); r.register()"),
    "ours twice around theirs": (OURS, DEEP, FORGET, OURS, THEIRS),
}


def folders_of(tiny, root, dtype):
    loaded = load_model(tiny, "cpu", dtype)
    model, ranks = compress(loaded)
    for storage in ("factored", "merged"):
        save(model, loaded.tokenizer, root / storage, ranks, RECIPE, "tiny", storage, max_shard_size="20KB")
    return root, said(model)


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory):
    """Factored and merged folders, and the logits of the model they were saved from."""
    return folders_of(tiny, tmp_path_factory.mktemp("fresh"), "float32")


@pytest.fixture(scope="module")
def bfloat16_folders(tiny, tmp_path_factory):
    """The same in bfloat16."""
    return folders_of(tiny, tmp_path_factory.mktemp("fresh"), "bfloat16")


def script(root, storage, imports):
    """Lines that load a folder and write its logits beside it."""
    return (
        *imports, "import torch", "torch.set_num_threads(1)",
        f"model = AutoModelForCausalLM.from_pretrained({str(root / storage)!r})",
        f"ids = torch.tensor({IDS.tolist()})",
        f"torch.save(model(input_ids=ids, use_cache=False).logits.detach(), {str(root / 'logits.pt')!r})",
    )


@pytest.mark.parametrize("order", ORDERS)
def test_equal_logits_in_every_order(folders, python, order):
    root, expected = folders
    done = python(*script(root, "factored", ORDERS[order]))
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(root / "logits.pt"), expected)


def test_equal_logits_in_bfloat16(bfloat16_folders, python):
    root, expected = bfloat16_folders
    done = python(*script(root, "factored", (OURS, THEIRS)))
    assert done.returncode == 0, done.stderr
    assert expected.dtype == torch.bfloat16 and torch.equal(torch.load(root / "logits.pt"), expected)


def test_without_the_library_it_stops(folders, python):
    root, _ = folders
    done = python(*script(root, "factored", (THEIRS,)))
    assert done.returncode != 0
    assert "mismatch" in done.stderr.lower()


def test_merged_needs_no_library(folders, python):
    root, expected = folders
    done = python(*script(root, "merged", (THEIRS, "import sys")), "assert 'lowrank_core' not in sys.modules")
    assert done.returncode == 0, done.stderr
    assert (torch.load(root / "logits.pt") - expected).abs().max() < 1e-3 * expected.abs().max()


def test_weights_that_lie_the_other_way_round(tmp_path, python):
    """GPT-2's Conv1D: with the library equal logits, without it a stop."""
    loaded = load_model(tiny_of("gpt2", tmp_path / "dense"), "cpu")
    model, ranks = compress(loaded, keep_dense="c_fc")
    save(model, loaded.tokenizer, tmp_path / "made", ranks, RECIPE, "tiny")
    done = python(*script(tmp_path, "made", (OURS, THEIRS)))
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(tmp_path / "logits.pt"), said(model))
    done = python(*script(tmp_path, "made", (THEIRS,)))
    assert done.returncode != 0 and "mismatch" in done.stderr.lower()


def test_the_card_s_snippet_runs(folders, python):
    root, _ = folders
    lines = (root / "factored" / "README.md").read_text().split("```python\n")[1].split("```")[0].splitlines()
    assert lines[0].startswith(OURS) and lines[1].startswith(THEIRS)
    assert 'model = AutoModelForCausalLM.from_pretrained("factored")' in lines
    done = python(f"import os; os.chdir({str(root)!r})", *lines)
    assert done.returncode == 0, done.stderr


def test_importing_the_library_loads_neither_torch_nor_transformers(python):
    done = python(OURS, "import lowrank_core.export, lowrank_core.models.register, lowrank_core.export.card, sys, json",
                  "print(json.dumps([m for m in ('torch', 'transformers') if m in sys.modules]))")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_the_finder_leaves_no_trace(python):
    """A mere look for the module keeps the hook; importing it uses it up and leaves the ordinary loader."""
    done = python(
        OURS, "import sys, importlib.util, lowrank_core.models.register as r",
        "waiting = lambda: sum(isinstance(f, r._Finder) for f in sys.meta_path)",
        "import transformers", "assert waiting() == 1",
        "r.register_on_import()", "assert waiting() == 1",
        "import transformers.quantizers.auto as auto", "assert waiting() == 0",
        "assert type(auto.__loader__).__name__ == 'SourceFileLoader' and auto.__spec__.loader is auto.__loader__",
        "assert auto.AUTO_QUANTIZER_MAPPING['lowrank'].__module__ == 'lowrank_core.models.quantizer'",
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def all_storages(tiny, tmp_path_factory):
    """A folder of every storage in every dtype, and the logits of the models they were saved from."""
    root, expected = tmp_path_factory.mktemp("storages"), {}
    for dtype in ("float32", "bfloat16", "float16"):
        loaded = load_model(tiny, "cpu", dtype)
        for storage in STORED:
            model, ranks = compress_by(loaded, storage, biased=True)
            name = f"{storage}-{dtype}"
            save(model, loaded.tokenizer, root / name, ranks, RECIPE, "tiny", max_shard_size="20KB")
            expected[name] = logits(model)
    return root, expected


def test_every_storage_in_every_dtype(all_storages, python):
    root, expected = all_storages
    done = python(
        OURS, THEIRS, "import torch", "torch.set_num_threads(1)", f"ids = torch.tensor({IDS.tolist()})",
        f"load = lambda name: AutoModelForCausalLM.from_pretrained({str(root)!r} + '/' + name)",
        f"said = {{n: load(n)(input_ids=ids, use_cache=False).logits.detach() for n in {list(expected)!r}}}",
        f"torch.save(said, {str(root / 'logits.pt')!r})",
    )
    assert done.returncode == 0, done.stderr
    found = torch.load(root / "logits.pt")
    assert all(torch.equal(found[name], wanted) for name, wanted in expected.items())


def test_no_storage_loads_without_the_library(all_storages, python):
    root, expected = all_storages
    done = python(
        THEIRS, "stopped = 0", f"for name in {list(expected)!r}:",
        f"    try: AutoModelForCausalLM.from_pretrained({str(root)!r} + '/' + name)",
        "    except RuntimeError as error: stopped += 'mismatch' in str(error).lower()", "print(stopped)",
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == len(expected)
