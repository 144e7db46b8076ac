"""What is read of the machine."""

import pytest

from lowrank_core.settings import granted_cores


@pytest.mark.parametrize(
    ("said", "cores"),
    [("150000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("", None), ("9900000 100000", None)],
)
def test_cores_that_a_container_grants(tmp_path, monkeypatch, said: str, cores: int | None) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    (tmp_path / "cpu.max").write_text(said)
    assert granted_cores(tmp_path / "cpu.max") == cores
    assert granted_cores(tmp_path / "nothing") is None
