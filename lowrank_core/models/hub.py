"""Bring a model's folder: a local one as it is, one on the Hub by the Hub's own client (no torch here).

Only what a model needs is downloaded, only safetensors weights, and nothing of it is ever run. Every file is compared
with the hash that the Hub gives of it; what arrived whole stays in the Hub's cache, nothing else does.
"""

import hashlib
import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelCorrupt, ModelNotFetched, ModelUnsupported
from ..jobs import Job, Progress, job, left
from ..settings import HUB_ANSWER, HUB_STALL
from .hub_errors import said_clearly
from .room import check_disk, check_room, in_dtype, size
from .where import INDEX, HubId, ModelFolder, cached, checked_config, hub_id, locate, weight_bytes

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

PLAIN = ("config.json", "generation_config.json", INDEX, "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
         "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja")  # fmt: skip
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
PIECE = 1 << 18  # bytes of a file that are taken at a time
TICK = 0.1  # seconds between two looks at a download
SPAN = 8.0  # seconds that the speed is taken over


@job
def bring(
    name: str | Path,
    token: str | None = None,
    device: str = "cpu",
    limit: int | None = None,
    dtype: str | None = None,
) -> Job[ModelFolder]:
    """The ModelFolder of `demo`, a folder or a hub id (owner/name, owner/name@revision), downloaded where it must be.

    What is whole in the Hub's cache is taken from there without asking the Hub. `token`: by default HF_TOKEN or the
    login; `limit`: most bytes of weights, in `dtype` where one is asked for. Progress is in bytes. Raises
    ModelNotFound, ModelGated, ModelNotFetched, ModelTooLarge, ModelUnsupported, ModelCorrupt, and leaves nothing
    half-written in any case.
    """
    hub = hub_id(name)
    if hub is not None and cached(hub) is None:
        yield from _download(hub, token, device, limit, dtype)
    folder = locate(name)
    weights = in_dtype(weight_bytes(folder.path), folder.config, dtype or folder.dtype_on(device))
    check_room(str(name), weights, device, limit)
    return folder


def _download(hub: HubId, token: str | None, device: str, limit: int | None, dtype: str | None) -> Job[None]:
    yield Progress("download", 0, 0, "asking the Hub", unit="bytes")
    with said_clearly(hub):
        files = _wanted(hub, _look_up(hub, token))
    weights = [f for f in files if f.rfilename.endswith(".safetensors")]
    config = next(f for f in files if f.rfilename == "config.json")
    transfer = Transfer(hub, token, sum(f.size for f in files))
    yield from transfer.fetch(config)
    said = checked_config(transfer.folder, str(hub))
    _check_known(hub, said)
    stored = sum(f.size for f in weights)
    dtype = dtype or ModelFolder(str(hub), transfer.folder, said, "").dtype_on(device)
    check_room(str(hub), in_dtype(stored, said, dtype), device, limit)
    check_disk(str(hub), transfer.total, transfer.folder)
    for file in (*(f for f in files if f not in (config, *weights)), *weights):
        yield from transfer.fetch(file)


def _look_up(hub: HubId, token: str | None) -> "ModelInfo":
    """What the Hub says of a model and its files. Tells at once where this machine is offline."""
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        raise ModelNotFetched(
            f"{str(hub)!r} is not downloaded, and this machine is set to work offline.",
            "Unset HF_HUB_OFFLINE, or take `demo` or a folder.",
        )
    api = HfApi(endpoint=_endpoint(), token=token)
    return api.model_info(hub.id, revision=hub.revision, files_metadata=True, timeout=HUB_ANSWER)


def _wanted(hub: HubId, info: "ModelInfo") -> "list[RepoSibling]":
    """The files to fetch: configuration, tokenizer, and one set of safetensors weights."""
    files = {f.rfilename: f for f in info.siblings or ()}
    if "config.json" not in files:
        raise ModelUnsupported(
            f"{str(hub)!r} holds no config.json.", "Is it a transformers model? GGUF files and adapters are none."
        )
    whole = [f for f in files if f == "model.safetensors"]
    shards = [f for f in files if f.startswith("model-") and f.endswith(".safetensors")] if INDEX in files else []
    if not whole and not shards:
        pickled = any(f.endswith(PICKLES) for f in files)
        raise ModelUnsupported(
            f"{str(hub)!r} holds no safetensors weights{', only pickled ones' if pickled else ''}.",
            "Pickled weights can run code when they are read and are never loaded; look for a converted revision.",
        )
    plain = [f for f in PLAIN if f in files and not (f == INDEX and whole)]
    return [files[f] for f in (*plain, *(whole or shards))]


def _check_known(hub: HubId, config: dict) -> None:
    """Nothing; ModelUnsupported for a model that transformers has no code of its own for."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = config["model_type"]
    if kind in CONFIG_MAPPING_NAMES:
        return
    if config.get("auto_map"):
        raise ModelUnsupported(
            f"{str(hub)!r} runs only with code from its repository, which is never run here.",
            "Take a model that transformers knows by itself.",
        )
    raise ModelUnsupported(f"transformers does not know models of type {kind!r}.", "A newer transformers may.")


class Transfer:
    """The download of one model's files, counted together."""

    def __init__(self, hub: HubId, token: str | None, total: int):
        from huggingface_hub import constants

        self.hub, self.token, self.total = hub, token, total
        self.cache = constants.HF_HUB_CACHE
        self.done = 0  # bytes of the files that are whole
        self.folder = Path()  # the snapshot, once its first file is there
        self._seen: list[tuple[float, int]] = []  # when, and how many bytes there were

    def fetch(self, file: "RepoSibling") -> Job[None]:
        """Downloads one file in a thread, looking after it: it is stopped where the job is, or where it stalls."""
        self._seen.clear()
        passing = _Passing()
        thread = threading.Thread(target=self._work, args=(file, passing), daemon=True, name=f"get {file.rfilename}")
        thread.start()
        last, since = 0, time.monotonic()
        try:
            while (outcome := passing.outcome(TICK)) is None:
                now = time.monotonic()
                if passing.bytes != last:
                    last, since = passing.bytes, now
                if now - since > HUB_STALL:
                    raise ModelNotFetched(
                        f"The download of {str(self.hub)!r} stalled: nothing came for {HUB_STALL:g} seconds.",
                        "Try again; files that arrived whole are kept.",
                    )
                yield self._progress(file, passing.bytes, now)
        finally:
            passing.stopped.set()
        with said_clearly(self.hub):
            if isinstance(outcome, BaseException):
                raise outcome
        yield from self._check(file, outcome)
        self.folder = outcome.parents[file.rfilename.count("/")]
        self.done += file.size

    def _work(self, file: "RepoSibling", passing: "_Passing") -> None:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        try:
            with _in_pieces():
                # asked first by itself, as the download would ask a failing server again for half a minute
                url = hf_hub_url(self.hub.id, file.rfilename, revision=self.hub.revision, endpoint=_endpoint())
                get_hf_file_metadata(url, token=self.token, timeout=HUB_ANSWER)
                path = hf_hub_download(
                    self.hub.id,
                    file.rfilename,
                    revision=self.hub.revision,
                    cache_dir=self.cache,
                    token=self.token,
                    endpoint=_endpoint(),
                    etag_timeout=HUB_ANSWER,
                    tqdm_class=passing.counter(),
                )
            passing.put(Path(path))
        except BaseException as error:  # handed to the job, which says it
            passing.put(error)

    def _progress(self, file: "RepoSibling", arrived: int, now: float) -> Progress:
        self._seen.append((now, arrived))
        while now - self._seen[0][0] > SPAN:
            self._seen.pop(0)
        (then, before), done = self._seen[0], self.done + arrived
        item = file.rfilename
        if now > then and arrived > before:
            rate = (arrived - before) / (now - then)
            item += f", {size(rate)}/s, {left(max(self.total - done, 0) / rate)} left"
        return Progress("download", done, self.total, item, unit="bytes")

    def _check(self, file: "RepoSibling", path: Path) -> Job[None]:
        """ModelCorrupt, and the file is gone, where it is not what the Hub says it is."""
        if file.lfs is not None:
            digest, wanted = hashlib.sha256(), file.lfs.sha256
        elif file.blob_id is not None:  # git's own name of it
            digest, wanted = hashlib.sha1(f"blob {path.stat().st_size}\0".encode()), file.blob_id
        else:
            return
        with open(path, "rb") as handle:
            while piece := handle.read(1 << 26):
                digest.update(piece)
                at, item = self.done + file.size, f"checking {file.rfilename}"
                yield Progress("download", at, self.total, item, unit="bytes")
        if digest.hexdigest() != wanted:
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise ModelCorrupt(
                f"{file.rfilename} of {str(self.hub)!r} arrived damaged: its hash is not the one the Hub gives.",
                "Try again; the damaged file is gone.",
            )


class _Stopped(Exception):
    """Ends a download from inside."""


@dataclass
class _Passing:
    """What a download's thread and its job share."""

    bytes: int = 0

    def __post_init__(self):
        self.stopped = threading.Event()
        self._outcome: queue.Queue[Path | BaseException] = queue.Queue()

    def put(self, outcome: "Path | BaseException") -> None:
        self._outcome.put(outcome)

    def outcome(self, seconds: float) -> "Path | BaseException | None":
        """The path of the file, or why there is none; None where the download still runs after these seconds."""
        try:
            return self._outcome.get(timeout=seconds)
        except queue.Empty:
            return None

    def counter(self) -> type:
        """The class of progress bar that the client is given: it counts, and raises where the job was stopped."""
        from tqdm import tqdm

        passing = self

        class Counter(tqdm):
            def __init__(self, *args, **kwargs):
                kwargs.pop("name", None)
                super().__init__(*args, **{**kwargs, "disable": True})

            def update(self, n=1):
                if passing.stopped.is_set():
                    raise _Stopped
                passing.bytes += int(n)

        return Counter


@contextmanager
def _in_pieces() -> Iterator[None]:
    """The client as we need it: without Xet, whose transfers cannot be stopped, and in pieces that come often enough
    on a slow line for its bytes to be counted."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE
    constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE = True, PIECE
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE = before


def _endpoint() -> str | None:
    """Where the Hub is, by HF_ENDPOINT; None: where it always is."""
    return os.environ.get("HF_ENDPOINT") or None
