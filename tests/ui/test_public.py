"""A public studio from outside: eight visitors at once, and what somebody tries who means no good."""

import contextlib
import json
from pathlib import Path

import httpx
import pytest

from .crowd import ROOT, Studio, Visitor, crowd

SECRET = "the secret of the host"


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """A public studio with a secret file beside its cache, and a link to it among the uploads."""
    root = tmp_path_factory.mktemp("public")
    (root / "secret.txt").write_text(SECRET)
    cache = root / "cache"
    (cache / "uploads").mkdir(parents=True)
    (cache / "uploads" / "link.txt").symlink_to(root / "secret.txt")
    studio = Studio(cache)
    studio.root = root
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def visitor(public):
    found = Visitor(public.url, 0)
    found.open_link()
    found.load("tiny/one")
    return found


def test_hub_ids_are_loaded(visitor) -> None:
    assert visitor.model == "tiny/one"


def test_no_file_of_the_host_is_served(public) -> None:
    secret, uploads = public.root / "secret.txt", public.root / "cache" / "uploads"
    paths = [
        str(secret), "/etc/passwd", "../secret.txt", "../../../../../../etc/passwd", "secret.txt", "app.py",
        str(ROOT / "app.py"), str(ROOT / "assets" / "texts" / "demo.calib.txt"), str(ROOT / "README.md"),
        f"{uploads}/../../secret.txt", f"{uploads}/link.txt", str(public.root / "cache" / "studio.log"),
        "..%2f..%2fsecret.txt", "%2fetc%2fpasswd", "....//....//etc/passwd", "file:///etc/passwd",
    ]  # fmt: skip
    for path in paths:
        for route in ("gradio_api/file=", "file=", "gradio_api/file/", "gradio_api/proxy=", "assets/", "static/",
                      "gradio_api/stream/"):  # fmt: skip
            with contextlib.suppress(httpx.InvalidURL):
                said = httpx.get(f"{public.url}/{route}{path}", timeout=30)
                assert SECRET not in said.text and "root:" not in said.text, (route, path)
                assert said.status_code != 200 or "<!doctype html>" in said.text.lower(), (route, path)


@pytest.mark.parametrize("name", ["/etc", "..", "~", "assets/demo_model", "cache/home", "file:///etc", "../secret.txt"])
def test_no_folder_of_the_host_is_loaded(public, visitor, name) -> None:
    before = visitor.model
    for asked in (name, str(ROOT / "assets" / "demo_model"), str(public.root)):
        job = visitor.submit(visitor.event("model-load", "click"), model_name=asked)
        said = visitor.checked([job.result(60)])
        assert "loads no folders" in said or f"'{name}' is not downloaded" in said, said[:300]
        assert "The earlier model stays loaded" in said
    assert visitor.model == before


def uploaded(public, name: str, content: bytes) -> httpx.Response:
    return httpx.post(f"{public.url}/gradio_api/upload", files={"files": (name, content)}, timeout=60)


def as_file(path: str, name: str) -> dict:
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def test_an_upload_of_6_mb_is_refused(public) -> None:
    assert uploaded(public, "large.txt", b"words " * 1_000_000).status_code == 413
    assert not list((public.root / "cache" / "uploads").rglob("large.txt"))
    assert uploaded(public, "small.txt", b"words of mine").status_code == 200


@pytest.mark.parametrize("content", [bytes(range(256)) * 50, b"\x7fELF\0\0" * 100, b"text\0" * 100, b""])
def test_a_binary_is_refused(public, visitor, content) -> None:
    path = uploaded(public, "text.txt", content).json()[0]
    said = drag_on(visitor, as_file(path, "text.txt"))
    assert any(words in said for words in ("not UTF-8", "null bytes", "is empty")), said[:500]


def drag_on(visitor, file) -> str:
    job = visitor.submit(visitor.event("ratio", "input"), file=file)
    return visitor.checked([job.result(60)])


def test_a_text_of_the_host_is_not_read(public) -> None:
    """Named as if it had been uploaded: gradio refuses what lies outside the uploads, we what leads outside."""
    attacker = Visitor(public.url, 2)
    preview = attacker.event("ratio", "input")
    uploads = public.root / "cache" / "uploads"
    for path in (public.root / "secret.txt", Path("/etc/passwd"), uploads / "link.txt", f"{uploads}/../../secret.txt"):
        said = attacker.post(preview, file=as_file(str(path), "mine.txt"))
        assert SECRET not in said and "root:" not in said
        assert "reads no files" in said or '"success":false' in said.replace(" ", ""), said[-800:]
    said = attacker.post(preview, Calibration_text=str(public.root / "secret.txt"), **{"Calibration text": "README.md"})
    assert '"success":false' in said.replace(" ", ""), said[-800:]


def test_one_s_own_text_is_taken_and_stays_one_s_own(public, visitor) -> None:
    mine = ("A sentence that nobody else wrote, about zephyrs. " * 300).encode()
    path = uploaded(public, "zephyrs.txt", mine).json()[0]
    said = drag_on(visitor, as_file(path, "zephyrs.txt"))
    assert "Not calibrated yet" in said and "zephyrs.txt" in said and path not in said
    other = Visitor(public.url, 1)
    assert "zephyrs" not in json.dumps(other.client.config) and "zephyrs" not in drag_on(other, None)


def test_a_million_tokens_are_refused(visitor) -> None:
    from gradio_client.exceptions import AppError

    for tokens in (10**6, -1):
        with pytest.raises(AppError):
            visitor.submit(visitor.event("chat-send", "click"), chat_box="hi", chat_length=tokens).result(60)
    job = visitor.submit(visitor.event("chat-send", "click"), chat_box="word " * 50_000)
    job.result(60)
    assert "characters here" in visitor.checked(job.outputs())


def test_eight_visitors_at_once(public) -> None:
    """`python -m tests.ui.crowd` is the same for three minutes."""
    found = crowd(public, clients=8, seconds=20)
    assert not found["failures"] and not found["stuck"], found["failures"]
    assert all(len(said) == 1 for said in found["replies"].values()), "one question, one model, one reply"
    assert found["counts"].get("cut off", 0) <= 1, found["counts"]
    assert found["counts"].get("answered", 0) > 0 and set(found["counts"]) >= {"drag", "chat"}
    after = found["after"]
    assert not (after["line"] or after["held"] or after["device"] or after["users"]), after
    states = found["states"]
    assert max(s["line"] for s in states) > 1, "they did stand in line"
    # in 20 seconds models are still being loaded for the first time: whether it stays flat, the three minutes tell
    most = max(s["memory"] for s in states)
    assert after["memory"] < 1.1 * most + 50e6 and most < 2.5e9, (most, after["memory"])
