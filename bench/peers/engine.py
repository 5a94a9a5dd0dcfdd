"""The workload on this engine: threads, and everything that a run writes. That is left in the
temporary directory: on ext4 inodes freed a moment ago would slow down the next run.

python -m bench.peers.engine WORKLOAD.json
"""

import json
import sys
import tempfile
from pathlib import Path

from bench.peers.workload import Workload, flat
from bench.schedule_threads import measure

if __name__ == "__main__":
    given = Workload.read(Path(sys.argv[1]))
    folder = tempfile.mkdtemp()
    measure(flat(20, given.executors), Path(folder, "warm"))  # imports, pydantic's adapters
    found = measure(given, Path(folder, "run"))
    print(json.dumps({"seconds": found.wall_s, "fsync_s": found.fsync_s, "cpu_s": found.cpu_s}))
