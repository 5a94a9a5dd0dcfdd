"""The workload on Dask distributed: one worker with as many threads as executors, in this process,
which is its quickest form. The whole graph is given at once, so that Dask may order it.

python dask_graph.py WORKLOAD.json
"""

import json
import sys
import time
from typing import Any

import dask
from distributed import Client, LocalCluster


@dask.delayed(pure=False)
def sleep(seconds: float, *_: Any) -> None:
    time.sleep(seconds)


def run(tasks: list[Any], executors: int) -> float:
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=executors, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(time.sleep, [0.01] * executors, pure=False))
        begin = time.perf_counter()
        made: list[Any] = []
        for seconds, earlier in tasks:
            made.append(sleep(seconds, *(made[before] for before in earlier)))
        client.gather(client.compute(made))
        return time.perf_counter() - begin


if __name__ == "__main__":
    with open(sys.argv[1]) as stream:
        given = json.load(stream)
    print(json.dumps({"seconds": run(given["tasks"], given["executors"])}))
