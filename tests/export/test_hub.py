"""Pushing with the Hub's own client, in a process of its own, to a stand-in on 127.0.0.1."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lowrank_core.errors import BadValue
from lowrank_core.export.hub import push
from lowrank_core.export.record import add_measurements, licence_of, read_record
from lowrank_core.export.save import save
from lowrank_core.settings import DEMO_MODEL

from .conftest import RECIPE, compress
from .hub_stand_in import TOKEN, Upload, serving

ROOT = Path(__file__).resolve().parents[2]
PUSH = """
import json, sys
from lowrank_core.errors import LowRankError
from lowrank_core.export.hub import push
seen = []
try:
    steps = push.steps(sys.argv[1], sys.argv[2], private="public" not in sys.argv)
    while True:
        p = next(steps)
        seen.append([p.done, p.total, p.item])
except StopIteration as stop:
    print(json.dumps({"seen": seen, **vars(stop.value)}))
except LowRankError as error:
    print(json.dumps({"kind": type(error).__name__, "message": error.message, "hint": error.hint}))
"""
MEASURED = {"model": "compressed", "text": "demo-test", "perplexity": 16.5, "windows": 64, "window": 256,
            "dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def folder(tiny, loaded, tmp_path_factory):
    """A compressed folder in several shards whose base and text are local paths."""
    root = tmp_path_factory.mktemp("secret-place")
    model, ranks = compress(loaded)
    recipe = {**RECIPE, "model": str(root / "base"), "text": str(root / "mine.txt")}
    save(model, loaded.tokenizer, root / "small", ranks, recipe, str(root / "base"), max_shard_size="60KB",
         base_folder=DEMO_MODEL)
    add_measurements(root / "small", [MEASURED])
    return root / "small"


def pushed(address: str, folder, *arguments: str, token: str = TOKEN, **more: str) -> tuple[dict, str]:
    """What a push said, and everything it printed or logged."""
    known = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    known |= {"HF_ENDPOINT": address, "HF_HOME": str(folder.parent / "home"), "HF_HUB_DISABLE_XET": "1",
              "HF_HUB_VERBOSITY": "debug", **({"HF_TOKEN": token} if token else {}), **more}
    done = subprocess.run([sys.executable, "-c", PUSH, str(folder), *arguments], cwd=ROOT, env=known,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def test_a_private_repository_is_created_and_filled(folder) -> None:
    hub = Upload()
    with serving(hub) as address:
        said, printed = pushed(address, folder, "me/tiny-30")
    made = hub.repositories["me/tiny-30"]
    assert made["private"] and said["private"] and said["repository"] == "me/tiny-30"
    assert said["url"] == f"{address}/me/tiny-30"
    names = {f.name for f in folder.iterdir()}
    assert set(made["files"]) == names and said["files"] == len(names)
    assert sum(n.endswith(".safetensors") for n in names) == 2 and "LICENSE" in names
    for name in names - {"README.md", "lowrank.json", "config.json"}:
        assert made["files"][name] == (folder / name).read_bytes(), name
    assert sum(a.endswith("commit/main") for a in hub.asked) == 1, "one commit, so that nobody sees a half"
    done, total, _ = said["seen"][-1]
    assert done == total == sum(map(len, made["files"].values())) == said["bytes"]
    assert [d for d, _, _ in said["seen"]] == sorted(d for d, _, _ in said["seen"])
    assert TOKEN not in printed


def test_the_card_says_everything_and_no_path(folder) -> None:
    hub = Upload()
    with serving(hub) as address:
        pushed(address, folder, "me/tiny-30")
    files = hub.repositories["me/tiny-30"]["files"]
    card = files["README.md"].decode()
    assert 'from_pretrained("me/tiny-30")' in card and "import lowrank_core" in card
    assert 'license: "cc-by-sa-4.0"' in card and "| base model | base |" in card
    assert "| method | svd |" in card and "mine.txt, 4 windows of 16 tokens, seed 0" in card
    assert "| demo-test | 16.5000 | 64 | 256 | float32 | cpu | compressed |" in card
    for name in ("README.md", "lowrank.json", "config.json"):
        assert "secret-place" not in files[name].decode(), name
    assert json.loads(files["config.json"])["quantization_config"]["ranks"]
    assert "secret-place" in (folder / "lowrank.json").read_text(), "the folder itself is left as it is"


def test_what_was_pushed_loads(folder, tmp_path) -> None:
    from lowrank_core.models.loading import load_compressed

    hub = Upload()
    with serving(hub) as address:
        pushed(address, folder, "me/tiny-30")
    for name, raw in hub.repositories["me/tiny-30"]["files"].items():
        (tmp_path / name).write_bytes(raw)
    assert load_compressed(tmp_path).parameters == load_compressed(folder).parameters


def test_public_only_where_it_is_asked_for(folder) -> None:
    hub = Upload()
    with serving(hub) as address:
        said, _ = pushed(address, folder, "me/open", "public")
    assert not hub.repositories["me/open"]["private"] and not said["private"]


def test_the_licence_of_a_base_model_on_the_hub(folder, loaded, tmp_path) -> None:
    model, ranks = compress(loaded)
    save(model, loaded.tokenizer, tmp_path / "of-hub", ranks, RECIPE, "org/base")
    hub = Upload(models={"org/base": {"license": "apache-2.0"}})
    with serving(hub) as address:
        pushed(address, tmp_path / "of-hub", "me/licensed")
    card = hub.repositories["me/licensed"]["files"]["README.md"].decode()
    assert 'license: "apache-2.0"' in card and "base_model: org/base" in card


def test_an_existing_repository_is_refused_and_left_alone(folder) -> None:
    hub = Upload()
    hub.existing("me/taken")
    with serving(hub) as address:
        said, printed = pushed(address, folder, "me/taken")
    assert said["kind"] == "NotPushed" and "exists already" in said["message"] and "new name" in said["hint"]
    assert hub.repositories["me/taken"] == {"private": False, "files": {"README.md": b"mine"}}
    assert not any("commit" in a or "preupload" in a for a in hub.asked) and TOKEN not in printed


@pytest.mark.parametrize(
    ("piece", "status", "expected"),
    [
        ("create", 403, "may not write"),
        ("create", 429, "asks to wait"),
        ("create", 500, "did not take"),
        ("/lfs/", 403, "may not write"),
        ("commit", 400, "did not take"),
    ],
)
def test_refusals_are_told_in_our_words(folder, piece, status, expected) -> None:
    hub = Upload(refuse={piece: status})
    with serving(hub) as address:
        said, printed = pushed(address, folder, "me/x")
    assert said["kind"] == "NotPushed" and expected in said["message"] and said["hint"]
    assert TOKEN not in printed, "not even where the answer quotes it"


def test_a_wrong_token_no_token_and_no_network(folder) -> None:
    with serving(Upload()) as address:
        wrong = "hf_" + "w" * 34
        said, printed = pushed(address, folder, "me/x", token=wrong)
        assert "does not know this token" in said["message"] and wrong not in printed
        said, _ = pushed(address, folder, "me/x", token="")
        assert "no token" in said["message"] and "hf auth login" in said["hint"]
    said, _ = pushed("http://127.0.0.1:9", folder, "me/x")
    assert "cannot be reached" in said["message"]
    said, _ = pushed("http://127.0.0.1:9", folder, "me/x", HF_HUB_OFFLINE="1")
    assert "cannot be reached" in said["message"]


@pytest.mark.parametrize("name", ["", "a/b/c", "../x", "me/a b", "me/..", "https://x/y"])
def test_names_that_are_none(folder, name) -> None:
    with pytest.raises(BadValue, match="no repository name"):
        push(folder, name, "token")


def test_folders_that_are_not_ours(tiny, tmp_path) -> None:
    for other in (tiny, tmp_path, tmp_path / "nowhere", DEMO_MODEL):
        with pytest.raises(BadValue, match="no folder with a compressed model"):
            push(other, "me/x", "token")


def test_only_recorded_files_inside_the_folder_travel(folder, tmp_path) -> None:
    import shutil

    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "diary.txt").write_text("private")
    hub = Upload()
    with serving(hub) as address:
        pushed(address, copy, "me/x")
        assert "diary.txt" not in hub.repositories["me/x"]["files"]
        (copy / "tokenizer.json").unlink()
        (copy / "tokenizer.json").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere").write_text("private")
        said, _ = pushed(address, copy, "me/y")
    assert said["kind"] == "BadValue" and "tokenizer.json" in said["message"]


def test_measurements_are_written_into_the_folder(folder) -> None:
    assert read_record(folder).measurements == (MEASURED,)
    assert "| demo-test | 16.5000 |" in (folder / "README.md").read_text()
    assert not list(folder.glob(".*"))


def test_the_bundled_model_s_licence_is_known() -> None:
    assert licence_of(DEMO_MODEL) == {"license": "cc-by-sa-4.0"} and licence_of(ROOT / "tests") == {}
    assert "BY-SA 4.0" in (DEMO_MODEL / "LICENSE").read_text() and "MIT" in (ROOT / "LICENSE").read_text()
