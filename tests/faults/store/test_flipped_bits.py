"""One flipped bit in any file of a run is an error with a name, never a wrong number."""

from __future__ import annotations

from pathlib import Path

import pytest
from claimed_run import make_claimed_run

from audit.errors import AuditError
from audit.store import Run
from audit.store.storage.files import write_json
from faults.collection import camaudit
from faults.reading import everything, files_of, flipped

FLIPS = 240


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A run with all that a run may hold."""
    path = make_claimed_run(tmp_path)
    write_json(path / "report/null.json", {"says": "On average 0.4 of the heat lies on the object.", "targets": 30})
    return path


def test_a_flipped_bit_in_any_file_is_named_by_whoever_reads_it(path: Path) -> None:
    whole = everything(path)
    for file in flipped(path, FLIPS):
        with pytest.raises(AuditError):
            raise AssertionError(f"{file} is damaged and read: {everything(path) == whole}")
    assert everything(path) == whole


def test_every_kind_of_file_is_checked_and_named_by_the_check(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert camaudit(["status", str(path), "--check"], monkeypatch) == 0
    places = {file.relative_to(path).parts[0]: file for file in files_of(path)}
    assert places.keys() >= {
        "findings",
        "ledger",
        "manifest.parquet",
        "maps.zarr",
        "run.json",
        "summary.json",
        "scores",
    }
    for name, file in places.items():
        if name == "report":  # no result rests on it, and its own verb makes it again
            continue
        good = file.read_bytes()
        file.write_bytes(good[:40] + bytes([good[40] ^ 1]) + good[41:])
        capsys.readouterr()
        assert camaudit(["status", str(path), "--check"], monkeypatch) == 1, name
        shown = capsys.readouterr()
        assert name in shown.out + shown.err
        file.write_bytes(good)
    assert list(Run.open(path).damaged()) == []
