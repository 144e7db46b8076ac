"""The command line called in this process: its exit code, and what it said on either stream."""

import json
from dataclasses import dataclass

import pytest

from lowrank_core.cli import main

SMALL = ("--windows", "6", "--window", "32", "--device", "cpu")


@dataclass(frozen=True)
class Said:
    """What a command line left behind."""

    code: int
    out: str
    err: str

    @property
    def found(self) -> dict:
        """The one JSON object on stdout, which holds nothing else."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1
        return json.loads(self.out)

    def refused(self) -> str:
        """The sentence of a user's mistake; at most one hint follows it, and nothing went to stdout."""
        lines = self.err.splitlines()
        assert self.code == 2 and self.out == "" and 1 <= len(lines) <= 2, (self.code, self.err)
        assert all(line.endswith((".", "?", "!")) for line in lines) and "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def lowrank(capsys):
    """Run a command line."""

    def run(*arguments) -> Said:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Options that make every command quick."""
    return SMALL
