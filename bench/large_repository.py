"""What a simulated change of a large repository costs on threads: seconds of wall and CPU time, and
the most memory at once.

    python -m bench.large_repository [--files 100000] [--bytes 2000]
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES_IN_DIRECTORY = 25
MOST_BYTES = 4_900_000


def commands(files: int, mean_bytes: int) -> Iterator[bytes]:
    """A commit for git fast-import, of modules with comments."""
    chance = random.Random(7)
    words = "\n# ".join(chance.choices([f"name_{n}" for n in range(2_000)], k=1_000_000)).encode()
    yield b"commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\ndata 5\nfirst\n"
    for number in range(files):
        size = min(MOST_BYTES, int(chance.expovariate(1) * mean_bytes))
        start = chance.randrange(len(words) - size)
        body = b"def f%d():\n    return 1\n# " % number + words[start : start + size] + b"\n"
        path = f"p{number // 2_500}/d{number // FILES_IN_DIRECTORY}/f{number}.py"
        yield f"M 100644 inline {path}\ndata {len(body)}\n".encode() + body


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--bytes", type=int, default=2_000)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["git", "init", "-q", "-b", "main", "repo"], cwd=place, check=True)
        with subprocess.Popen(
            ["git", "-C", f"{place}/repo", "fast-import", "--quiet"], stdin=subprocess.PIPE
        ) as importing:
            assert importing.stdin is not None
            importing.stdin.writelines(commands(wish.files, wish.bytes))
        started, before_s = time.perf_counter(), cpu_s()
        run = (sys.executable, str(ROOT / "orchestrator.py"), "Change it", "--into", "repo")
        subprocess.run([*run, "--quiet"], cwd=place, check=True)
        wall_s, used_s = time.perf_counter() - started, cpu_s() - before_s
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{wall_s:.0f} s, {used_s:.0f} s of CPU time, {peak:.0f} MB of memory")


if __name__ == "__main__":
    main()
