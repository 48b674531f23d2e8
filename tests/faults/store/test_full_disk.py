"""A disk that fills up: one clear line, exit 1, a run that can be read and resumed."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from faults.collection import account, audit_here, camaudit, contents, finished, planned, resumed
from pipelines.run.shards.shard import Finished, Stopped, audit_shard
from pipelines.run.workers.schedule import pending

WRITES = {
    "maps": "audit.store.maps.arrays._write_bytes",
    "tables": "pyarrow.parquet.write_table",
    "ledger": "audit.store.ledger.write_json",
    "flush": "os.fsync",
}


def full(*_arguments: object, **_options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "part-00001.parquet")


@pytest.mark.parametrize("step", WRITES)
def test_a_full_disk_at_each_step_is_a_value_that_says_so_and_the_run_goes_on_later(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(finished(tmp_path / "whole").run)
    plan = planned(tmp_path / "full")
    shards = pending(plan.run)
    assert isinstance(audit_shard(plan.task, shards[0]), Finished)
    with monkeypatch.context() as patch:
        patch.setattr(WRITES[step], full)
        end = audit_shard(plan.task, shards[1])
    assert isinstance(end, Stopped)
    assert "No space left on device" in end.reason
    assert "make room" in end.reason
    assert "\n" not in end.reason
    assert pending(plan.run) == shards[1:]
    assert not list(plan.run.path.rglob("*.partial"))
    audit_here(resumed(plan))
    assert contents(plan.run) == whole


def test_a_full_disk_ends_the_command_with_one_line_and_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = finished(tmp_path)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr("audit.findings.writing.write_json", full)
        assert camaudit(["flag", str(plan.run.path)], monkeypatch) == 1
    message = capsys.readouterr().err
    assert message.startswith("camaudit: No space left on device")
    assert len(message.splitlines()) == 1
    assert account(plan.run.path, monkeypatch, capsys)["processed"] == 10


def test_a_disk_too_small_to_lay_a_run_out_leaves_a_place_that_a_run_can_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("zarr.storage._local._put", full)
        with pytest.raises(OSError, match="No space left"):
            planned(tmp_path)
    plan = planned(tmp_path)
    audit_here(plan)
    assert plan.run.account().processed == 10


def test_a_real_limit_on_file_sizes_ends_a_shard_with_one_line(tmp_path: Path) -> None:
    """The kernel refuses the write, wherever in the stack it happens."""
    plan = planned(tmp_path)
    code = """
import pickle, resource, signal, sys
from pipelines.run.shards.shard import audit_shard
task, shard = pickle.load(sys.stdin.buffer)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
print(audit_shard(task, shard).reason)
"""
    arguments = pickle.dumps((plan.task, plan.run.shards[0]))
    done = subprocess.run([sys.executable, "-c", code], input=arguments, capture_output=True, check=True)
    assert b"File too large" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert plan.run.account().pending == 10
