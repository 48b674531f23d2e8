"""The processes of a run on a machine that others use too: who may talk to them, and what they leave behind."""

from __future__ import annotations

import os
import pwd
import socket
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from distributed import Client, LocalCluster

from audit.errors import RunError
from audit.store import Shard
from pipelines.run.config import ClusterConfig
from pipelines.run.shards.shard import Finished
from pipelines.run.workers.client import connect
from pipelines.run.workers.schedule import submit_all

STRANGER = """
import sys
from distributed import Client, Security

address = sys.argv[1]
for kind, security in (("tcp", None), ("tls", Security.temporary())):
    try:
        with Client(address.replace("tls", kind, 1), security=security, timeout=2) as client:
            print(client.submit(print, "anything").result(timeout=2))
    except Exception as error:
        print("refused:", type(error).__name__)
"""


def test_a_client_without_the_runs_certificates_is_refused(client: Client) -> None:
    address = client.scheduler_info()["address"]
    assert address.startswith("tls://127.0.0.1:")
    code = [sys.executable, "-c", STRANGER, address]
    said = subprocess.run(code, capture_output=True, text=True, check=False, timeout=60)
    refusals = said.stdout.splitlines()
    assert len(refusals) == 2, said.stderr
    assert all(refusal.startswith("refused: ") for refusal in refusals)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_another_user_of_the_machine_is_refused_by_scheduler_and_workers(client: Client) -> None:
    info = client.scheduler_info()
    for address in (info["address"], *info["workers"]):
        assert answer_to("nobody", int(address.rpartition(":")[2])) == b"refused"


def answer_to(user: str, port: int) -> bytes:
    """What a user gets who speaks TLS to a port of this machine, with no certificate of the run."""
    reading, writing = os.pipe()
    if os.fork() == 0:  # the interpreter's own files may be closed to that user, so it is not started anew
        with suppress(BaseException):
            os.setuid(pwd.getpwnam(user).pw_uid)
            os.write(writing, knock(port))
        os._exit(0)
    os.close(writing)
    os.wait()
    with os.fdopen(reading, "rb") as answer:
        return answer.read()


def knock(port: int) -> bytes:
    """The first answer of a port to somebody without a certificate."""
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, anyone.wrap_socket(plain) as line:
            line.sendall(b"let me in")
            return line.recv(1) or b"closed"
    except (ssl.SSLError, ConnectionResetError):
        return b"refused"


def test_what_a_run_listens_to_is_on_loopback_and_gives_nothing_away(client: Client) -> None:
    processes = [psutil.Process(pid) for pid in (os.getpid(), *client.run(os.getpid).values())]
    open_to = {
        connection.laddr
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert open_to
    assert {address.ip for address in open_to} == {"127.0.0.1"}
    for worker in client.scheduler_info()["workers"].values():
        assert worker["services"].get("dashboard")


def test_workers_that_do_not_start_twice_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []

    def die(**_options: object) -> None:
        starts.append(1)
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr("pipelines.run.workers.client.LocalCluster", die)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        pytest.raises(RunError, match=r"2 workers did not start \(Nanny failed to start\.\); .*--memory"),
        connect(ClusterConfig(workers=2)),
    ):
        pass
    assert len(starts) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_worker_lost_as_it_starts_costs_one_more_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []

    def once(**options: object) -> LocalCluster:
        starts.append(1)
        if len(starts) == 1:
            raise RuntimeError("Nanny failed to start.")
        return LocalCluster(**options)

    monkeypatch.setattr("pipelines.run.workers.client.LocalCluster", once)
    with connect(ClusterConfig(workers=1)) as client:
        assert client.submit(sum, [1, 2]).result() == 3
    assert len(starts) == 2


def test_an_existing_scheduler_without_workers_is_waited_for_with_the_patience_of_the_run() -> None:
    with LocalCluster(
        n_workers=0, processes=False, dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False}
    ) as cluster:
        config = ClusterConfig(scheduler=cluster.scheduler_address, timeout_s=1, wait_s=2)
        with (
            connect(config) as client,
            pytest.raises(RunError, match=r"No worker takes work since \d s: start workers, .*--wait"),
        ):
            submit_all(client, [Shard(0, 0, 4)], Finished, cluster=config)
