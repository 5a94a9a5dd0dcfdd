"""The workload in a thread pool of the standard library, by a loop as anybody would write it.

python futures_loop.py WORKLOAD.json
"""

import json
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any


def run(tasks: list[Any], executors: int) -> float:
    left = [len(before) for _, before in tasks]
    after: list[list[int]] = [[] for _ in tasks]
    for task, (_, earlier) in enumerate(tasks):
        for before in earlier:
            after[before].append(task)
    with ThreadPoolExecutor(executors) as pool:
        list(pool.map(time.sleep, [0.01] * executors))  # all threads are there
        begin = time.perf_counter()
        running = {pool.submit(time.sleep, tasks[t][0]): t for t, n in enumerate(left) if not n}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                for task in after[running.pop(future)]:
                    left[task] -= 1
                    if not left[task]:
                        running[pool.submit(time.sleep, tasks[task][0])] = task
        return time.perf_counter() - begin


if __name__ == "__main__":
    with open(sys.argv[1]) as stream:
        given = json.load(stream)
    print(json.dumps({"seconds": run(given["tasks"], given["executors"])}))
