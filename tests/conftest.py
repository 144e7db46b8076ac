"""What every test stands on: offline libraries, one thread, a cache folder of its own, the tiny model."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

# before any library reads them
os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TRANSFORMERS_VERBOSITY="error",
    TOKENIZERS_PARALLELISM="false",
    GRADIO_ANALYTICS_ENABLED="False",
    OMP_NUM_THREADS="1",
)
if not os.environ.get("LOWRANK_GPU"):  # the suite is the CPU's, so that it finds the same everywhere
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import hypothesis  # noqa: E402
import pytest  # noqa: E402

from .tiny import tiny_llama, tiny_text_file  # noqa: E402

hypothesis.settings.register_profile("house", deadline=None, database=None, derandomize=True, max_examples=150)
hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache folder that belongs to one test; the user's own is never touched."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LOWRANK_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folder of the tiny LLaMA; read-only by agreement."""
    return tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    """A UTF-8 file with a few thousand words."""
    return tiny_text_file(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="session")
def loaded(tiny):
    """The tiny LLaMA loaded; a test that changes it works on a `share_copy` or puts everything back."""
    import torch

    from lowrank_core.models.loading import load_model

    torch.set_num_threads(1)
    return load_model(tiny, "cpu")


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    from lowrank_core.store import Store

    return Store(tmp_path / "store")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    """The address of `python app.py` with an empty store."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment["LOWRANK_CACHE"] = str(tmp_path_factory.mktemp("studio"))
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "app.py", "--port", str(port)]
    with open(tmp_path_factory.mktemp("log") / "app.log", "w") as log:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
        for _ in range(300):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.wait(10)
