"""The house rules of DESIGN.md that a machine can see to: who imports whom, and what no file may hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lowrank_core"
FILES = sorted(p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts)

# The rooms, from the ground up; a room may import those below it and itself.
RANKS = {
    "errors": 0,
    "jobs": 0,
    "settings": 0,
    "drift": 0.05,
    "types": 0.1,
    "linalg": 0.2,
    "store": 0.2,
    "methods": 0.5,
    "allocation": 0.5,
    "modules": 1,
    "models": 1.1,
    "calibration": 2,
    "evaluation": 3,
    "generation": 3,
    "kv": 2.9,  # streams go through it
    "export": 4,
    "study": 4,
    "plots": 5,
    "lessons": 5,
    "report": 6,
    "bench": 7,
    "demo": 7,
    "cli": 8,
    "__main__": 8.1,
    "ui": 9,
    "": 10,  # lowrank_core/__init__.py, the front door
}
LEVEL = {("study", "export"), ("evaluation", "generation")}  # on one level, and one may look at the other


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(module: str) -> str:
    """errors for lowrank_core.errors, ui for lowrank_core.ui.pages, "" for the package itself."""
    return (module.split(".") + [""])[1]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, with relative names made absolute."""
    package = module_of(path).split(".") if path.name == "__init__.py" else module_of(path).split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(p for p in (base, node.module) if p)
            inside = module == "lowrank_core" or (
                node.level and not node.module
            )  # `from .. import settings`: the names are modules
            found |= {f"{module}.{a.name}" for a in node.names} if inside else {module}
    return found


def test_every_room_has_its_place() -> None:
    rooms = {room_of(module_of(p)) for p in FILES}
    assert rooms <= set(RANKS), rooms - set(RANKS)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_only_go_down(path: Path) -> None:
    here, up = room_of(module_of(path)), []
    for module in sorted(imports_of(path)):
        if module.split(".")[0] != "lowrank_core":
            continue
        there = room_of(module)
        if there in RANKS and there != here and (here, there) not in LEVEL and RANKS[there] >= RANKS[here]:
            up.append(module)
    assert not up, f"{name_of(path)} ({here}, level {RANKS[here]}) imports {', '.join(up)}"


def libraries_of(path: Path) -> set[str]:
    return {m.split(".")[0] for m in imports_of(path)}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_gradio_and_plotly_live_in_one_room_each(path: Path) -> None:
    room = room_of(module_of(path))
    assert "gradio" not in libraries_of(path) or room == "ui"
    assert "plotly" not in libraries_of(path) or room == "plots"


def test_files_beside_the_package_leave_plotly_and_gradio_to_it() -> None:
    for path in ROOT.glob("*.py"):
        assert "plotly" not in libraries_of(path)
        assert "gradio" not in libraries_of(path) or path.name == "app.py"


@pytest.mark.parametrize("path", [p for p in FILES if room_of(module_of(p)) in ("methods", "allocation")], ids=name_of)
def test_pure_maths_sees_no_model_file_or_clock(path: Path) -> None:
    assert not libraries_of(path) & {"transformers", "os", "pathlib", "time", "datetime", "random", "io", "safetensors"}
    assert "open(" not in path.read_text("utf-8")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_no_file_may_hold(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 300, "a file nearing 300 lines is asking to become two"
    assert not re.search(r"\bNotImplementedError\b|\bTODO\b|\bFIXME\b", text)
    assert not re.search(r"""["'](/(work|home|root|Users|opt|tmp|mnt|srv|data)/|[A-Z]:\\\\)""", text), (
        "a path of one machine"
    )
    for node in ast.walk(ast.parse(text)):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"a bare except in line {node.lineno}"
    assert ast.get_docstring(ast.parse(text)) or not text.strip(), "a file begins by saying what it is"


@pytest.mark.parametrize(
    "module",
    [
        "lowrank_core",
        "lowrank_core.study.read",
        "lowrank_core.study.planning",
        "lowrank_core.methods",
        "lowrank_core.allocation",
        "lowrank_core.plots",
        "lowrank_core.lessons",
    ],
)
def test_pages_that_only_read_load_no_torch(module: str) -> None:
    """In a fresh process: what the first page needs is there before torch is."""
    package = ROOT / module.replace(".", "/")
    assert package.with_suffix(".py").is_file() or (package / "__init__.py").is_file(), f"{module} is not there"
    script = f"import sys, {module}; print(*sorted({{'torch', 'transformers', 'datasets'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
