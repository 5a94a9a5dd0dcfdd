"""The workload on Parsl, on threads of this process, which is its quickest form.

python parsl_apps.py WORKLOAD.json
"""

import json
import sys
import time
from typing import Any

import parsl
from parsl import python_app
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor


@python_app
def sleep(seconds: float, inputs: Any = ()) -> None:  # noqa: ARG001 - Parsl waits for them
    import time

    time.sleep(seconds)


def run(tasks: list[Any], executors: int) -> float:
    config = Config(executors=[ThreadPoolExecutor(max_threads=executors)], usage_tracking=0)
    with parsl.load(config):
        for future in [sleep(0.01) for _ in range(executors)]:
            future.result()
        begin = time.perf_counter()
        made: list[Any] = []
        for seconds, earlier in tasks:
            made.append(sleep(seconds, inputs=[made[before] for before in earlier]))
        for future in made:
            future.result()
        return time.perf_counter() - begin


if __name__ == "__main__":
    with open(sys.argv[1]) as stream:
        given = json.load(stream)
    print(json.dumps({"seconds": run(given["tasks"], given["executors"])}))
