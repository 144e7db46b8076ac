"""Models from the Hub by its real client, against a stand-in on 127.0.0.1: what arrives, and every way it may not."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

from lowrank_core.cli.app import main
from lowrank_core.errors import (
    LowRankError,
    ModelCorrupt,
    ModelGated,
    ModelNotFetched,
    ModelNotFound,
    ModelTooLarge,
    ModelUnsupported,
)
from lowrank_core.jobs import Progress, finish
from lowrank_core.models import hub as hubs
from lowrank_core.models import room
from lowrank_core.models.hub import bring
from lowrank_core.models.loading import choose_dtype, load_model
from lowrank_core.models.where import ModelFolder, cached, hub_id, locate
from tests.tiny import tiny_llama

from .stand_in import Hub, serving

NAME = "owner/tiny"
QUICK = 5.0  # seconds within which everything but a stall is told


@pytest.fixture
def cache_of_the_hub(tmp_path, monkeypatch) -> Path:
    """A Hub cache of its own, and a machine that is online."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(hubs, "PIECE", 4096)
    monkeypatch.setenv("HF_TOKEN", "")  # what is set meanwhile, as --token does, is taken back afterwards
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "hub"
    huggingface_hub.close_session()


@pytest.fixture
def serve(cache_of_the_hub, monkeypatch):
    @contextmanager
    def at(hub: Hub) -> Iterator[Hub]:
        with serving(hub) as address:
            monkeypatch.setenv("HF_ENDPOINT", address)
            yield hub

    return at


@pytest.fixture(scope="module")
def sharded(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("sharded"), shard="60KB")


def left_over(cache: Path) -> list[str]:
    """What lies in the cache that is no whole file: unfinished downloads, and links to nowhere."""
    return [str(p) for p in cache.rglob("*") if p.name.endswith(".incomplete") or (p.is_symlink() and not p.exists())]


def fails(kind: type[LowRankError], says: str, cache: Path, weights: int = 0, name: str = NAME, **how) -> LowRankError:
    """Bringing the model raises this kind within seconds, and nothing half-written is left."""
    began = time.perf_counter()
    with pytest.raises(kind, match=says) as caught:
        bring(name, **how)
    assert time.perf_counter() - began < QUICK and caught.value.hint
    assert not left_over(cache) and len(list(cache.rglob("*.safetensors"))) == weights
    with pytest.raises(LowRankError):  # and it does not pass for a model
        locate(name)
    return caught.value


def test_names() -> None:
    assert hub_id("owner/name").id == "owner/name" and hub_id("owner/name").revision == "main"
    assert str(hub_id("owner/na.me-1@v2/x")) == "owner/na.me-1@v2/x" and str(hub_id("a/b@main")) == "a/b"
    for other in ("demo", "name", "", "/a/b", "a/b/c", "./a", "../a", "a/b@", "~/b", "a b/c", Path("/nowhere/x")):
        assert hub_id(other) is None


@pytest.mark.parametrize("which", ["tiny", "sharded"])
def test_a_model_arrives_with_progress_in_bytes(serve, cache_of_the_hub, request, which: str) -> None:
    folder = request.getfixturevalue(which)
    seen: list[Progress] = []
    with serve(Hub.of(folder)) as hub:
        brought = finish(load_model.steps(NAME, "cpu"), seen.append)
        asked = len(hub.asked)
        again = load_model(NAME, "cpu")
        assert len(hub.asked) == asked  # what is in the cache is taken from there
    bars = [p for p in seen if p.stage == "download"]
    assert all(p.unit == "bytes" and p.done <= p.total for p in bars[1:]) and bars[-1].done == bars[-1].total
    assert bars[-1].total == sum(len(raw) for name, raw in hub.files.items() if name != "lowrank.json")
    assert [p.done for p in bars] == sorted(p.done for p in bars) and len({p.done for p in bars}) > 3
    original = load_model(folder, "cpu")
    assert brought.name == NAME and brought.folder.fingerprint == again.folder.fingerprint == locate(NAME).fingerprint
    ids = torch.arange(12)[None]
    assert torch.equal(brought.model(input_ids=ids).logits, original.model(input_ids=ids).logits)
    assert not left_over(cache_of_the_hub) and set(hub.tokens) == {None}


def test_speed_and_time_left_are_told(serve, tiny) -> None:
    seen: list[Progress] = []
    with serve(Hub.of(tiny, pace=0.03)):
        finish(bring.steps(NAME), seen.append)
    assert any("/s, " in p.item and p.item.endswith("left") for p in seen)
    assert hubs.left(20) == "20 s" and hubs.left(600) == "10 min" and hubs.left(9000) == "2.5 h"


def test_a_revision(serve, cache_of_the_hub, tiny) -> None:
    with serve(Hub.of(tiny, revisions=("main", "v2"))) as hub:
        assert bring(f"{NAME}@v2").path.name == hub.commit
        assert cached(hub_id(NAME)) is None  # of main nothing is known yet
        assert f"GET /api/models/{NAME}/revision/v2" in hub.asked
        before = len(list(cache_of_the_hub.rglob("*.safetensors")))
        fails(ModelNotFound, "no such revision", cache_of_the_hub, before, name=f"{NAME}@v3")


def test_a_token_opens_what_is_gated_and_is_told_to_nobody(serve, cache_of_the_hub, tiny, monkeypatch) -> None:
    secret = "hf_" + "s3cret" * 5
    with serve(Hub.of(tiny, refused_files=(401, "GatedRepo"), token=secret)) as hub:
        said = fails(ModelGated, "gated", cache_of_the_hub)
        assert "https://huggingface.co/owner/tiny" in said.hint
        assert secret not in str(fails(ModelGated, "gated", cache_of_the_hub, token=secret + "x"))
        assert bring(NAME, token=secret).name == NAME and secret in hub.tokens
        assert all(secret.encode() not in p.read_bytes() for p in cache_of_the_hub.rglob("*") if p.is_file())


@pytest.mark.parametrize("status", [401, 403])
def test_gated(serve, cache_of_the_hub, tiny, status: int) -> None:
    with serve(Hub.of(tiny, refused_files=(status, "GatedRepo"))):
        fails(ModelGated, "gated", cache_of_the_hub)


@pytest.mark.parametrize(
    ("refusal", "kind", "says"),
    [
        ((404, "RepoNotFound"), ModelNotFound, "no model"),
        ((401, ""), ModelNotFound, "no model"),  # the Hub's word for missing and private ones
        ((401, "Invalid credentials in Authorization header"), ModelGated, "to this token"),
        ((403, ""), ModelGated, "to this token"),
        ((429, ""), ModelNotFetched, "too many requests"),
        ((500, ""), ModelNotFetched, "status 500"),
        ((503, ""), ModelNotFetched, "status 503"),
    ],
)
def test_refusals(serve, cache_of_the_hub, tiny, refusal, kind, says: str) -> None:
    with serve(Hub.of(tiny, refusal=refusal)):
        fails(kind, says, cache_of_the_hub)
    if refusal[0] >= 500:
        with serve(Hub.of(tiny, refused_files=refusal)):
            fails(kind, says, cache_of_the_hub)


def test_a_stall_is_told_after_its_time(serve, cache_of_the_hub, tiny, monkeypatch) -> None:
    monkeypatch.setattr(hubs, "HUB_STALL", 0.7)
    began = time.monotonic()
    with serve(Hub.of(tiny, stalled=True)), pytest.raises(ModelNotFetched, match=r"nothing came for 0\.7 seconds"):
        bring(NAME)
    assert time.monotonic() - began < 3
    end = time.monotonic() + 12
    while left_over(cache_of_the_hub) and time.monotonic() < end:
        time.sleep(0.1)  # the client gives up once its own time-out has passed
    assert not left_over(cache_of_the_hub) and not list(cache_of_the_hub.rglob("*.safetensors"))


def test_stopping_ends_the_download(serve, cache_of_the_hub, tiny) -> None:
    with serve(Hub.of(tiny, pace=0.02)):
        job = bring.steps(NAME)
        for progress in job:
            if progress.item.startswith("model.safetensors") and progress.done > 0:
                break
        job.close()
        end = time.monotonic() + 5
        while any(t.name.startswith("get ") for t in threading.enumerate()) and time.monotonic() < end:
            time.sleep(0.05)
    assert not left_over(cache_of_the_hub) and not list(cache_of_the_hub.rglob("*.safetensors"))


def test_a_truncated_file(serve, cache_of_the_hub, tiny) -> None:
    raw = (tiny / "model.safetensors").read_bytes()
    with serve(Hub.of(tiny, sent={"model.safetensors": raw[:5000]})):
        fails(ModelNotFetched, "cut short", cache_of_the_hub)
    with serve(Hub.of(tiny)):
        assert bring(NAME).path.is_dir()  # nothing of the failure stands in the way


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_wrong_hash(serve, cache_of_the_hub, tiny, file: str) -> None:
    raw = bytearray((tiny / file).read_bytes())
    raw[-7] ^= 1
    with serve(Hub.of(tiny, sent={file: bytes(raw)})):
        fails(ModelCorrupt, "hash", cache_of_the_hub)


def test_a_damaged_shard_leaves_the_whole_ones(serve, cache_of_the_hub, sharded) -> None:
    shards = sorted(p.name for p in sharded.glob("*.safetensors"))
    with serve(Hub.of(sharded, sent={shards[1]: bytes(len((sharded / shards[1]).read_bytes()))})):
        fails(ModelCorrupt, shards[1], cache_of_the_hub, weights=1)
    with serve(Hub.of(sharded)) as hub:
        assert bring(NAME).path.is_dir()
        assert not any(a == f"GET /{NAME}/resolve/main/{shards[0]}" for a in hub.asked)


def changed(tiny: Path, **config) -> Hub:
    hub = Hub.of(tiny)
    hub.files["config.json"] = json.dumps({**json.loads(hub.files["config.json"]), **config}).encode()
    return hub


def test_repositories_that_are_refused(serve, cache_of_the_hub, tiny) -> None:
    pickled = Hub.of(tiny)
    pickled.files["pytorch_model.bin"] = pickled.files.pop("model.safetensors")
    empty = Hub.of(tiny)
    empty.files = {"README.md": b"hello"}
    code = {"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}, "model_type": "own-architecture"}
    for hub, says in (
        (pickled, "only pickled ones"),
        (empty, "no config.json"),
        (changed(tiny, **code), "code from its repository"),
        (changed(tiny, model_type="own-architecture"), "does not know"),
        (changed(tiny, quantization_config={"quant_method": "gptq", "bits": 4}), "quantized .gptq."),
    ):
        with serve(hub):
            fails(ModelUnsupported, says, cache_of_the_hub)
        assert not any(a.startswith("GET") and a.endswith((".bin", ".safetensors")) for a in hub.asked)


def test_too_large_is_told_before_the_download(serve, cache_of_the_hub, tiny, monkeypatch) -> None:
    huge = Hub.of(tiny, sizes={"model.safetensors": 400_000_000_000})
    with serve(huge):
        said = fails(ModelTooLarge, r"520 GB of memory to work on, .* GB are free", cache_of_the_hub)
    assert "would fit" in said.hint and not any("model.safetensors" in a for a in huge.asked)
    middle = Hub.of(tiny, sizes={"model.safetensors": 3_000_000_000})
    with serve(middle):
        said = fails(ModelTooLarge, r"3 GB of weights, the limit here is 2 GB", cache_of_the_hub, limit=2_000_000_000)
        assert said.hint == "EleutherAI/pythia-410m (810 MB) would fit." or "would fit" in said.hint
        monkeypatch.setenv("LOWRANK_MODEL_LIMIT", "0.5")
        fails(ModelTooLarge, "the limit here is 500 MB", cache_of_the_hub)
        monkeypatch.delenv("LOWRANK_MODEL_LIMIT")
        monkeypatch.setattr(room.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
        fails(ModelTooLarge, "the disk has 1 kB free", cache_of_the_hub)


def test_a_folder_is_held_to_the_limit_too(tiny, monkeypatch) -> None:
    with pytest.raises(ModelTooLarge, match="limit"):
        load_model(tiny, limit=1000)
    monkeypatch.setattr(room, "available", lambda device: 1000)
    with pytest.raises(ModelTooLarge, match="1 kB are free"):
        load_model(tiny)


def test_offline_is_told_at_once(cache_of_the_hub, tiny, monkeypatch, serve) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with serve(Hub.of(tiny)) as hub:
        fails(ModelNotFetched, "set to work offline", cache_of_the_hub)
        assert not hub.asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    fails(ModelNotFetched, "cannot be reached", cache_of_the_hub)


def test_a_model_in_use_outlives_a_failure(serve, cache_of_the_hub, tiny) -> None:
    ids = torch.arange(12)[None]
    with serve(Hub.of(tiny)):
        loaded = load_model(NAME, "cpu")
        before = loaded.model(input_ids=ids).logits
    with serve(Hub.of(tiny, id="owner/other", refusal=(500, ""))), pytest.raises(ModelNotFetched):
        load_model("owner/other", "cpu")
    assert torch.equal(loaded.model(input_ids=ids).logits, before) and load_model(NAME, "cpu").parameters


def test_the_command_line(serve, cache_of_the_hub, tiny, tiny_file, capsys) -> None:
    secret = "hf_" + "abc" * 9
    line = ["evaluate", NAME, "--text", str(tiny_file), "--windows", "2", "--window", "16", "--json"]
    with serve(Hub.of(tiny, refused_files=(403, "GatedRepo"), token=secret)):
        assert main(line) == 2
        assert "gated" in capsys.readouterr().err
        assert main([*line, "--token", secret]) == 0
        said = capsys.readouterr()
    assert json.loads(said.out)["model"] == NAME and secret not in said.out + said.err


def test_half_precision_on_a_cpu_is_bfloat16() -> None:
    def dtype(name: str, **config) -> torch.dtype:
        return choose_dtype(None, ModelFolder(name, Path(), config, ""), torch.device("cpu"))

    assert dtype("x", dtype="float16") == dtype("x", torch_dtype="bfloat16") == torch.bfloat16
    assert dtype("x") == dtype("x", dtype="float32") == dtype("demo", dtype="bfloat16") == torch.float32
    assert ModelFolder("x", Path(), {"dtype": "float16"}, "").dtype_on("cuda") == "float16"
