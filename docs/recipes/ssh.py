"""Workers over ssh: a scheduler on the first host, workers on the others, and its address for `--scheduler`.

    python ssh.py node0 node1 node2

Needs `pip install asyncssh`, a key that logs in without a password, and the same Python at the same path on every host.
Plain shells do the same: `dask scheduler --scheduler-file F` on one host, `dask worker --scheduler-file F` on others.
"""

from __future__ import annotations

import argparse
import signal
import sys

from distributed import SSHCluster

END = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, END)  # in all threads, so that the workers are ended before this process
    parser = argparse.ArgumentParser()
    parser.add_argument("hosts", nargs="+", help="of the scheduler, then of each worker; one host may be named twice")
    parser.add_argument("--threads", type=int, default=4, help="of a worker")
    parser.add_argument("--key", help="file of the private key")
    parser.add_argument("--port", type=int, default=22, help="of ssh")
    parser.add_argument("--unknown-hosts", action="store_true", help="do not ask whether a host's key is known")
    asked = parser.parse_args()
    login = {"port": asked.port} | ({"client_keys": [asked.key]} if asked.key else {})
    login |= {"known_hosts": None} if asked.unknown_hosts else {}
    with SSHCluster(
        asked.hosts,
        connect_options=login,
        worker_options={"nthreads": asked.threads},
        scheduler_options={"dashboard": False},
        remote_python=sys.executable,
    ) as cluster:
        workers = len(asked.hosts) - 1
        print(f"camaudit run ... --scheduler {cluster.scheduler_address} --min-workers {workers}", flush=True)
        signal.sigwait(END)


if __name__ == "__main__":
    main()
