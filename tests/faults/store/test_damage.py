"""Damaged files are named, withdrawn and recomputed; a flipped bit is an error, never a wrong number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rewritten import map_files_of, part_of

from audit.errors import RunError
from audit.store import Run
from faults.collection import account, audit_here, camaudit, contents, finished, resumed
from pipelines.run.plan import Plan

PARTS = ("samples", "targets", "scores", "confusion")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return finished(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def run(pristine: Plan, tmp_path: Path) -> Run:
    """A copy that may be damaged."""
    return Run.open(shutil.copytree(pristine.run.path, tmp_path / "run"))


def file_of(run: Run, kind: str, shard: int) -> Path:
    return map_files_of(run, shard)[0] if kind == "maps" else part_of(run, kind, shard)


def cut(path: Path, share: float | None) -> None:
    """Keep a share of a file's bytes; None deletes it."""
    data = path.read_bytes()
    path.unlink() if share is None else path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("share", [0.0, 0.5, None], ids=["emptied", "truncated", "deleted"])
@pytest.mark.parametrize("kind", ["maps", *PARTS])
def test_a_damaged_file_is_named_withdrawn_and_recomputed_to_equal_bytes(
    kind: str,
    share: float | None,
    run: Run,
    pristine: Plan,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = file_of(run, kind, 2)  # the last shard, which is not full
    cut(path, share)
    name = str(path.relative_to(run.path))

    assert camaudit(["status", str(run.path), "--check", "--json"], monkeypatch) == 1
    damaged = json.loads(capsys.readouterr().out)["damaged"]
    assert [(row["shard"], row["file"]) for row in damaged] == [(2, name)]
    assert camaudit(["repair", str(run.path)], monkeypatch) == 0
    assert name in capsys.readouterr().out
    assert account(run.path, monkeypatch, capsys)["pending"] == 2

    plan = resumed(pristine, run.path)
    assert plan.resumed
    audit_here(plan)
    assert contents(plan.run) == contents(pristine.run)
    assert camaudit(["status", str(run.path), "--check"], monkeypatch) == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\0\0"])
def test_a_damaged_ledger_entry_is_named_and_repaired(
    text: str, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.path / "ledger/00001.json").write_text(text)
    assert camaudit(["status", str(run.path)], monkeypatch) == 1
    message = capsys.readouterr().err
    assert "Damaged ledger entry" in message
    assert "camaudit repair" in message
    assert camaudit(["repair", str(run.path)], monkeypatch) == 0
    assert account(run.path, monkeypatch, capsys)["pending"] == 4


def test_one_flipped_bit_anywhere_in_a_zarr_shard_is_an_error_never_a_wrong_number(run: Run) -> None:
    path = file_of(run, "maps", 0)
    good = path.read_bytes()
    generator = np.random.default_rng(0)
    ends = [*range(0, 40), *range(len(good) - 40, len(good))]
    for place in [*ends, *generator.integers(40, len(good) - 40, 120)]:
        damaged = bytearray(good)
        damaged[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(bytes(damaged))
        with pytest.raises(RunError, match=r"Damaged maps of samples 0 to 3 .*camaudit repair"):
            run.maps(0, 4)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99, None])
def test_cut_or_lost_maps_are_never_read_as_no_maps(share: float | None, run: Run) -> None:
    cut(file_of(run, "maps", 1), share)
    assert np.isfinite(run.maps(0, 4)).any()
    with pytest.raises(RunError, match="camaudit repair"):
        run.maps(2, 6)


def test_one_flipped_bit_in_a_table_is_found_by_the_check(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(run, "scores", 0)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(bytes(data))
    assert camaudit(["status", str(run.path), "--check"], monkeypatch) == 1
    assert path.name in capsys.readouterr().out


def test_findings_of_a_shard_that_is_pending_again_are_not_listed(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(file_of(run, "scores", 1), 0.5)
    for verb in ("repair", "flag"):
        assert camaudit([verb, str(run.path)], monkeypatch) == 0
    parts = sorted(path.name for path in (run.path / "findings").glob("part-*.parquet"))
    assert parts == ["part-00000.parquet", "part-00002.parquet"]
    capsys.readouterr()
    assert camaudit(["findings", str(run.path), "--json"], monkeypatch) == 0
    listed = json.loads(capsys.readouterr().out)["targets"]
    assert {row["sample"] // 4 for row in listed} <= {0, 2}


def test_the_manifest_of_a_run_lost_or_damaged_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = run.path / "manifest.parquet"
    assert pq.read_metadata(manifest).num_rows == 10
    cut(manifest, 0.5)
    assert camaudit(["status", str(run.path), "--check"], monkeypatch) == 1
    assert "damaged: manifest.parquet; restore it from a copy" in capsys.readouterr().out
    assert camaudit(["flag", str(run.path)], monkeypatch) == 1
    message = capsys.readouterr().err
    assert str(manifest) in message
    assert len(message.splitlines()) == 1
