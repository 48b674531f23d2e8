"""Workers by SLURM: a scheduler in this process, jobs that are its workers, and a file that `--scheduler-file` takes.

    python slurm.py --jobs 8 --file dask.json &
    camaudit run val.parquet --model model.pt -o /shared/runs/val --scheduler-file dask.json

Needs `pip install dask-jobqueue`. Partition, account and walltime are options of `SLURMCluster`. Jobs come with the
work, so no `--min-workers` above 1: there is no work before workers are there.
"""

from __future__ import annotations

import argparse
import signal

from dask_jobqueue import SLURMCluster

END = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, END)  # in all threads, so that the workers are ended before this process
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2, help="at most; they come and go with the work")
    parser.add_argument("--cores", type=int, default=4, help="threads of a worker")
    parser.add_argument("--memory", default="8GB", help="of a worker")
    parser.add_argument("--file", default="dask.json")
    parser.add_argument("--host", help="address that jobs reach this machine at")
    asked = parser.parse_args()
    with SLURMCluster(
        cores=asked.cores,
        processes=1,
        memory=asked.memory,
        walltime="02:00:00",
        job_script_prologue=["export OMP_NUM_THREADS=1"],
        scheduler_options={"scheduler_file": asked.file, "host": asked.host, "dashboard": False},
    ) as cluster:
        print(cluster.job_script())
        cluster.adapt(minimum_jobs=1, maximum_jobs=asked.jobs)
        signal.sigwait(END)


if __name__ == "__main__":
    main()
