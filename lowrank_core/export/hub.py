"""Push a saved folder to the Hub as a new repository: private unless asked otherwise, never over an existing one.

The token comes from the caller (the page's login), or from where the Hub's own client looks: HF_TOKEN, `hf auth login`.
It goes into requests and nowhere else: failures are told in our own words. No torch here.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import BadValue, NotPushed
from ..jobs import Job, Progress, job
from .card import HUB_ID
from .record import CARD, LICENCE_FIELDS, RECORD, Record, read_record

BEAT = 0.5  # seconds between two yields while a file travels
LOGIN = "Log in with `hf auth login`, or set HF_TOKEN to a token that may write."


@dataclass(frozen=True)
class Pushed:
    """What now lies on the Hub."""

    repository: str  # owner/name
    url: str
    private: bool
    files: int
    bytes: int


@job
def push(folder: Path | str, repository: str, token: str | None = None, private: bool = True) -> Job[Pushed]:
    """Upload a folder that `save` wrote to a new repository `owner/name`, with its model card under that name.

    Progress is in bytes, file by file; one commit holds all of them. Names of local folders do not leave this machine:
    of a local base model or text only the last part is told. Raises BadValue for a folder that is not ours or a name
    that is none, NotPushed where the repository exists, or without a token, permission or network.

    *Limits*: stopped or failing half-way it leaves the new repository there, empty.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    path = Path(folder).expanduser()
    record = read_record(path).without_paths()
    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise BadValue(f"{repository!r} is no repository name.", "Write it as owner/name.") from None
    token = token or get_token()
    if not token:
        raise NotPushed("There is no token for the Hub.", LOGIN)
    api = HfApi(token=token)
    with _told(repository):
        record = _with_licence(record, api)
        url = api.create_repo(repository, private=private, exist_ok=False)
    repository = url.repo_id
    changed = {CARD: record.card(repository), RECORD: record.to_json(), "config.json": _config(path, record)}
    additions = []
    for name in _files(path, record):
        content = changed[name].encode() if name in changed else path / name
        additions.append(CommitOperationAdd(name, content))
    sizes = {a.path_in_repo: a.upload_info.size for a in additions}
    done, total = 0, sum(sizes.values())
    for addition in additions:
        with _told(repository):
            wait = _beats(lambda a=addition: api.preupload_lfs_files(repository, [a], free_memory=False))
            for _ in wait:
                yield Progress("upload", done, total, addition.path_in_repo)
        done += sizes[addition.path_in_repo]
        yield Progress("upload", done, total, addition.path_in_repo)
    with _told(repository):
        message = "Compressed by the Lowrank Explorer"
        for _ in _beats(lambda: api.create_commit(repository, additions, commit_message=message)):
            yield Progress("upload", done, total, "commit")
    return Pushed(repository, str(url), private, len(additions), total)


def _files(folder: Path, record: Record) -> list[str]:
    """The recorded files, ordinary ones inside the folder; BadValue where one is missing or leads elsewhere."""
    for name in record.files:
        file = folder / name
        inside = file.resolve().is_relative_to(folder.resolve()) and not os.path.isabs(name)
        if not (inside and file.is_file() and not file.is_symlink()):
            raise BadValue(f"The folder lacks {name!r}, which it was saved with.", "Save the model again.")
    return sorted(set(record.files))


def _config(folder: Path, record: Record) -> str:
    """The folder's config.json with the recipe as the record tells it."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config.pop("_name_or_path", None)
    if "recipe" in config.get("quantization_config", {}):
        config["quantization_config"]["recipe"] = dict(record.recipe)
    return json.dumps(config, indent=2)


def _with_licence(record: Record, api: Any) -> Record:
    """The record with the licence that the base model's card on the Hub states, where none is recorded."""
    from huggingface_hub.errors import HfHubHTTPError

    if record.licence or not HUB_ID.fullmatch(record.base):
        return record
    try:
        data = api.model_info(record.base).card_data
    except HfHubHTTPError:  # gated, gone or renamed: the card says that it is not recorded
        return record
    return replace(record, licence={k: str(v) for k in LICENCE_FIELDS if data and (v := data.get(k))})


def _beats(call: Callable[[], Any]) -> Iterator[None]:
    """Nothing, twice a second, until a call in a thread of its own has ended; raises what it raises."""
    pool = ThreadPoolExecutor(1)
    try:
        ended = pool.submit(call)
        while True:
            try:
                ended.result(BEAT)
                return
            except StillRunning:
                yield
    finally:
        pool.shutdown(wait=False)  # whoever stops is not kept waiting for a file under way


@contextmanager
def _told(repository: str) -> Iterator[None]:
    """Failures of the Hub's client as NotPushed, in our words: what it quotes might hold more than it should."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        raise _refusal(repository, _status(error)) from None
    except RuntimeError as error:  # how the client wraps a file's failed upload
        raise _refusal(repository, _status(error.__cause__)) from None
    except Exception as error:
        # no connection, or offline mode; the client's HTTP library is not the same in all its versions
        if isinstance(error, OSError) or type(error).__module__.startswith("httpx"):
            raise NotPushed("The Hub cannot be reached.", "Try again when there is a network.") from None
        raise


def _status(error: BaseException | None) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _refusal(repository: str, status: int | None) -> NotPushed:
    if status == 409:
        return NotPushed(f"The repository {repository!r} exists already.", "Choose a new name: none is overwritten.")
    if status == 401:
        return NotPushed("The Hub does not know this token.", LOGIN)
    if status == 403:
        return NotPushed(f"This token may not write to {repository!r}.", LOGIN)
    if status == 429:
        return NotPushed("The Hub asks to wait: too many requests.", "Try again in some minutes.")
    return NotPushed(f"The Hub did not take the upload{f' (status {status})' if status else ''}.", "Try again later.")
