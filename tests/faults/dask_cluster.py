"""Dask's scheduler and two worker processes, for as long as the process that began this lives."""

import sys

import dask
import distributed


def main() -> None:
    # Else it asks for the rows of a worker that died again, and tells nobody.
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(processes=True, silence_logs=50, **settings) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
