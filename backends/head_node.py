"""The end of the line on a cluster's head node: one request in, one answer out.

    python3 head_node.py MARK < request > answer

The request is a line of JSON, and for `run` chunks of a compressed tar after it; the answer, after
the MARK that tells it from a login shell's greetings, is the same for `fetch`. What takes its time
says so before that, by lines of the MARK and a count of bytes. Runs alone, with the
standard library of Python 3.6, which is as old as a head node's python3 gets.

Paths are bytes here: in a locale that is not UTF-8 an old Python has no text for their names, and
which locales a head node has nobody knows.
"""

import errno
import fcntl
import gzip
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zlib
from contextlib import contextmanager
from importlib.util import find_spec
from typing import IO, Any, Dict, Iterator, List, cast

SLURM_BIN = "/opt/slurm/bin"
"""Where AWS ParallelCluster has it; a shell that is not of a login does not look there."""
ANSWER_S = 120
CHUNK_BYTES = 64 * 1024
MOST_CHUNK_BYTES = 16 * 1024 * 1024
"""Far more than anyone sends in one."""
MOST_EVENTS_BYTES = 4 * 1024 * 1024
"""In one answer; what is left comes with the next."""
LEFT_S = 24 * 3600
"""After that a directory that was being made is nobody's any more."""
KEPT_MARK_S = 30 * 24 * 3600
"""How long it is known that a run was cleaned up: far longer than any helper is at work."""
GONE = b".gone-"
REGULAR = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""How to open what a job may have put there: no link is followed, no pipe waited for."""
NAMES: Dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
"""How a path is told as text, in requests, answers and archives."""
Request = Dict[str, Any]


class CutOff(EOFError):
    """The other side has gone before all was there."""


class CleanedUp(Exception):
    """Whose work this was is over, and what it leaves is removed."""


class Damaged(ValueError):
    """What came was never sent like that."""


def place(*parts: Any) -> bytes:
    """A path, of parts that are text or such paths."""
    return os.path.join(*(p if isinstance(p, bytes) else p.encode(**NAMES) for p in parts))


def text(path: Any) -> str:
    return path.decode(**NAMES) if isinstance(path, bytes) else str(path)


# -- streams


class Chunks:
    """Chunks with their length before them, as one stream; an empty one is its end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._rest = b""
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        while not self._ended and (size < 0 or len(self._rest) < size):
            self._rest += self._next()
        size = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _next(self) -> bytes:
        head = self._stream.read(8)
        if len(head) < 8:
            raise CutOff()
        size = MOST_CHUNK_BYTES + 1 if head.strip(b"0123456789abcdef") else int(head, 16)
        if size > MOST_CHUNK_BYTES:
            raise Damaged("a chunk whose length is %r" % head)
        data = self._stream.read(size)
        if len(data) < size:
            raise CutOff()
        self._ended = not data
        return data

    def drain(self) -> None:
        while self.read(CHUNK_BYTES):
            pass


class ChunkWriter:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        for start in range(0, len(data), CHUNK_BYTES):
            part = data[start : start + CHUNK_BYTES]
            self._stream.write(b"%08x" % len(part) + part)
        return len(data)

    def end(self) -> None:
        self._stream.write(b"%08x" % 0)

    def flush(self) -> None:
        self._stream.flush()


class Pulse:
    """Tells the caller every `beat_s`, while its answer is made, that it is, and how many bytes
    have moved. Once nobody listens, the transfer under way is of no use to anyone, and stopped."""

    def __init__(self, out: IO[bytes], mark: str, beat_s: float) -> None:
        self.moved = 0
        self._out, self._mark, self._beat_s = out, mark.encode(), beat_s
        self._transfer = None  # type: Any
        self._gone = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Pulse":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(self._beat_s):
            try:
                self._out.write(b"\n%s %d\n" % (self._mark, self.moved))
                self._out.flush()
            except (OSError, ValueError):
                self._gone = True
                stop(self._transfer)
                return

    @contextmanager
    def watching(self, transfer: Any) -> Iterator[None]:
        self._transfer = transfer
        if self._gone:
            stop(transfer)
        try:
            yield
        finally:
            self._transfer = None


class Counted:
    """A pipe of a transfer; what passes is counted."""

    def __init__(self, stream: IO[bytes], pulse: Pulse) -> None:
        self._stream, self._pulse = stream, pulse

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._pulse.moved += len(data)
        return data

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self._pulse.moved += len(data)
        return len(data)


# -- what can be asked for


def greet(request: Request) -> Request:
    """What is here; nothing is changed."""
    root = os.path.abspath(os.path.expanduser(place(request["root"])))
    found = os.environ["PATH"]
    return {
        "root": text(root),
        "user": os.environ.get("USER", ""),
        "python": list(sys.version_info[:3]),
        "missing": [name for name in request["commands"] if shutil.which(name, path=found) is None],
        "lacking": [name for name in request["packages"] if find_spec(name) is None],
        "has_code": os.path.isdir(place(root, request["code"])),
        "cleaned_up": was_cleaned_up(root, place(request["run"])),
    }


def run(request: Request, stream: IO[bytes], pulse: Pulse) -> Request:
    """Run a command; for one that comes with a parcel, or with a name to be run once under, nothing
    is there and nothing is run any more once its run was cleaned up."""
    if not (request["packed"] or request["once"]):
        return execute(request)
    folder, name = os.path.split(place(request["run_dir"]))
    try:
        refuse_cleaned_up(request)
        if request["packed"] and not lay_down(request, stream, pulse):
            return {"wanted": request["code"]}
        with mark_held(place(request["root"]), name, fcntl.LOCK_SH) as mark:
            if mark.read(1):
                raise CleanedUp()
            return run_once(request) if request["once"] else execute(request)
    except OSError:
        refuse_cleaned_up(request)  # which is why files have gone
        raise
    finally:
        if was_cleaned_up(place(request["root"]), name):  # in the middle of all this
            put_aside(folder, name)
            sweep(place(request["root"]))


def lay_down(request: Request, stream: IO[bytes], pulse: Pulse) -> bool:
    """All that comes with a command, from the stream and from S3; gives whether there is code."""
    run_dir, code = place(request["run_dir"]), place(request["root"], request["code"])
    chunks = Chunks(stream)
    unpack(chunks, run_dir, code)
    chunks.drain()
    if request["url"]:
        refuse_cleaned_up(request)
        download(request["url"], run_dir, code, pulse)
    return os.path.isdir(code)


def run_once(request: Request) -> Request:
    """Give the answer of an earlier time, if it went well then."""
    folder = place(request["run_dir"], request["once"])
    with locked(folder):
        answer = place(folder, "answer.json")
        if os.path.exists(answer):
            with open(answer, encoding="utf-8") as earlier:
                known: Request = json.load(earlier)
            return known
        done = execute(request)
        if done.get("exit_code") == 0:
            write_file(answer, io.BytesIO(json.dumps(done).encode()), 0o600)
        return done


def execute(request: Request) -> Request:
    """Run a command with what its environment may hold."""
    environ = {n: os.environ[n] for n in request["variables"] if n in os.environ}
    environ["LC_ALL"] = "C"
    command = request["command"]
    try:
        done = subprocess.run(
            [place(word) for word in command],
            input=request.get("stdin", "").encode(**NAMES),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            timeout=ANSWER_S,
        )
    except OSError as exc:
        return {"error": "%s cannot be run: %s" % (command[0], exc.strerror)}
    except subprocess.TimeoutExpired:
        return {"error": "%s gave no answer within %d s" % (command[0], ANSWER_S)}
    texts = {"stdout": done.stdout, "stderr": done.stderr}
    answer: Request = {n: data.decode("utf-8", "replace") for n, data in texts.items()}
    answer["exit_code"] = done.returncode
    return answer


def look(request: Request) -> Request:
    """Run a command if there is one, and see what attempts have left, new lines of their events
    with it."""
    answer = execute(request) if request["command"] else {}
    room = MOST_EVENTS_BYTES
    answer["traces"] = traces = {}
    for attempt, offset in request["attempts"].items():
        top = place(request["run_dir"], attempt)
        result = place(top, "result")
        claimed, has_result = holds(top, "claim"), holds(result, "result.json")
        lines = new_lines(place(result, "events.jsonl"), offset, room)
        room -= len(lines)
        traces[attempt] = [claimed, has_result, text(lines)]
    return answer


def holds(folder: bytes, name: str) -> bool:
    """By listing it, which makes an NFS client ask its server."""
    try:
        return place(name) in os.listdir(folder)
    except OSError:
        return False


def new_lines(path: bytes, offset: int, most: int) -> bytes:
    """Whole lines of a file since `offset`; more than `most` bytes wait for another time."""
    try:
        with os.fdopen(os.open(path, REGULAR), "rb") as stream:
            stream.seek(offset)
            data = stream.read(max(0, most))
    except OSError:
        return b""
    return data[: data.rfind(b"\n") + 1]


def tails(request: Request) -> Request:
    """The ends of files, as text."""
    found = {}
    for name in request["paths"]:
        try:
            path = place(request["run_dir"], name)
            with os.fdopen(os.open(path, REGULAR), "rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - request["most"]))
                found[name] = stream.read(request["most"]).decode("utf-8", "replace")
        except OSError:  # a pipe too: it has no end to seek
            found[name] = ""
    return {"tails": found}


def remove(request: Request) -> Request:
    for name in request["paths"]:
        remove_path(place(request["run_dir"], name))
    return {}


def runs(request: Request) -> Request:
    """The runs' directories below the root, each with what it says of its origin; those too whose
    removal did not come to its end."""
    folder = place(request["root"], "runs")
    found = {}
    for name in listing(folder):
        try:
            path = place(folder, name, "origin")
            with os.fdopen(os.open(path, REGULAR), "rb") as stream:
                found[text(name_of(name))] = stream.read().decode("utf-8", "replace")
        except OSError:
            continue
    return {"runs": found}


def seal(request: Request) -> Request:
    """Mark runs as cleaned up. When this is answered nothing of them is being submitted, nor will
    be: by a helper that was started before, say, and was cut off from its caller."""
    for name in request["names"]:
        with mark_held(place(request["root"]), place(name), fcntl.LOCK_EX) as mark:
            if not mark.read(1):
                mark.write(b"cleaned up\n")
    return {}


def forget(request: Request) -> Request:
    """Remove runs' directories, and what removals before this one have left."""
    seal(request)
    root, names = place(request["root"]), [place(name) for name in request["names"]]
    for name in names:
        put_aside(place(root, "runs"), name)
    sweep(root)
    left = [n for n in listing(place(root, "runs")) if n.startswith(GONE) and name_of(n) in names]
    told = ", ".join(text(place(root, "runs", name)) for name in left)
    return {"error": "cannot be removed: " + told} if left else {}


def fetch(request: Request, out: IO[bytes]) -> None:
    """Stream what attempts have left."""
    writer = ChunkWriter(out)
    pack_results(request, writer)
    writer.end()


def store(request: Request, pulse: Pulse) -> Request:
    """The same into an object of S3, by the AWS CLI that is on ParallelCluster's images."""
    with aws("-", request["url"], pulse, stdin=subprocess.PIPE) as process:
        pack_results(request, Counted(process.stdin, pulse))
        refuse_cleaned_up(request)  # whose files have gone meanwhile
    return {}


def download(url: str, run_dir: bytes, code: bytes, pulse: Pulse) -> None:
    """Unpack an object of S3."""
    with aws(url, "-", pulse, stdout=subprocess.PIPE) as process:
        unpack(Counted(process.stdout, pulse), run_dir, code)


@contextmanager
def aws(source: str, target: str, pulse: Pulse, **streams: Any) -> Iterator[Any]:
    """Copy from or to S3. OSError with the CLI's own words when that fails."""
    command = ["aws", "s3", "cp", "--quiet", source, target]
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stderr=said, **streams) as process:
            with pulse.watching(process):
                with copying(process):
                    yield process
        said.seek(0)
        if process.returncode != 0:
            complaint = said.read().decode("utf-8", "replace").strip() or "it was stopped"
            raise OSError(process.returncode, complaint, "aws s3 cp")


@contextmanager
def copying(process: Any) -> Iterator[None]:
    """To the end of the process. What comes of its own early end is told by its exit code; where
    we cannot go on it is stopped before its input ends, so that half a result is no object."""
    try:
        yield
    except Exception as exc:
        own = isinstance(exc, OSError) and exc.errno not in (None, errno.EPIPE)
        if own or not isinstance(exc, (OSError, EOFError, tarfile.TarError, zlib.error)):
            stop(process)
            close(process)
            raise
        close(process)
        if process.wait() == 0:
            raise
    close(process)
    process.wait()


def stop(process: Any) -> None:
    """As Ctrl-C does, so that the AWS CLI takes back the parts that it has uploaded."""
    if process is not None and process.poll() is None:
        process.send_signal(signal.SIGINT)


def close(process: Any) -> None:
    """Its streams."""
    for stream in filter(None, (process.stdin, process.stdout)):
        try:
            stream.close()
        except BrokenPipeError:
            pass


def pack_results(request: Request, out: Any) -> None:
    """A compressed tar of what attempts have left, as <number of the attempt>/<path in result>."""
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6) as packed:
        with tarfile.open(fileobj=cast(Any, packed), mode="w|", **NAMES) as tar:
            for number, attempt in enumerate(request["attempts"]):
                pack(tar, place(request["run_dir"], attempt, "result"), str(number))


# -- files


def pack(tar: tarfile.TarFile, top: bytes, name: str) -> None:
    """A tree; what is neither file nor directory goes as a link, for the other side to refuse."""
    waiting = [(top, name)]
    while waiting:
        path, name = waiting.pop()
        try:
            mode = os.lstat(path).st_mode
            content = os.fdopen(os.open(path, REGULAR), "rb") if stat.S_ISREG(mode) else None
            below = sorted(os.listdir(path)) if stat.S_ISDIR(mode) else []
        except FileNotFoundError:
            continue
        except OSError:  # closed to its owner
            mode, content, below = stat.S_IFLNK, None, []
        if content is not None:
            add_file(tar, content, name)
            continue
        member = tarfile.TarInfo(name)
        member.type = tarfile.DIRTYPE if stat.S_ISDIR(mode) else tarfile.SYMTYPE
        member.mode = stat.S_IMODE(mode)
        tar.addfile(member)
        waiting += [(place(path, entry), name + "/" + text(entry)) for entry in below]


def add_file(tar: tarfile.TarFile, content: IO[bytes], name: str) -> None:
    """As long as it is now, whatever happens to it meanwhile."""
    with content as stream:
        found = os.fstat(stream.fileno())
        member = tarfile.TarInfo(name)
        member.size, member.mode = found.st_size, stat.S_IMODE(found.st_mode)
        tar.addfile(member, cast(Any, Padded(stream)))


class Padded:
    """A file that is cut, or lost, while it is read goes on with zeros: its digest will tell."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except OSError:
            data = b""
        return data + b"\0" * (size - len(data))


def unpack(chunks: Any, run_dir: bytes, code: bytes) -> None:
    """`run/...` into the run's directory, `code/...` beside all runs, whole or not at all."""
    os.makedirs(run_dir, exist_ok=True)
    fresh = tempfile.mkdtemp(prefix=b".code-", dir=os.path.dirname(code))
    places = {"run": run_dir, "code": fresh}
    try:
        with tarfile.open(
            fileobj=gzip.GzipFile(fileobj=chunks, mode="rb"), mode="r|", **NAMES
        ) as tar:
            for member in tar:
                top, _, name = member.name.partition("/")
                path = place(places[top], name)
                if member.isdir():
                    os.makedirs(path, exist_ok=True)
                    continue
                os.makedirs(os.path.dirname(path), exist_ok=True)
                write_file(path, tar.extractfile(member) or io.BytesIO(), member.mode)
        if os.listdir(fresh) and not os.path.isdir(code):
            os.rename(fresh, code)
    finally:
        remove_path(fresh)


def write_file(path: bytes, source: IO[bytes], mode: int) -> None:
    """Through a temporary name, so that a reader sees all or nothing."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "wb") as stream:
            shutil.copyfileobj(source, stream)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def open_up(path: bytes) -> None:
    """Allow the removal of what is below; what ran there may have forbidden it."""
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        try:
            os.chmod(folder, 0o700)
            with os.scandir(folder) as entries:
                waiting += [e.path for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:
            continue


def remove_path(path: bytes) -> None:
    """A link is removed, not followed."""
    if os.path.isdir(path) and not os.path.islink(path):
        open_up(path)
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


# -- runs that were cleaned up


@contextmanager
def mark_held(root: bytes, name: bytes, how: int) -> Iterator[IO[bytes]]:
    """A run's mark, which holds something once the run was cleaned up. Several may submit at once,
    and who cleans up waits for them."""
    os.makedirs(place(root, "marks"), exist_ok=True)
    with open(place(root, "marks", name), "a+b") as stream:
        flock(stream, how)
        stream.seek(0)
        yield stream


def was_cleaned_up(root: bytes, name: bytes) -> bool:
    try:
        with open(place(root, "marks", name), "rb") as mark:
            return bool(mark.read(1))
    except OSError:
        return False


def refuse_cleaned_up(request: Request) -> None:
    if was_cleaned_up(place(request["root"]), os.path.basename(place(request["run_dir"]))):
        raise CleanedUp()


def put_aside(folder: bytes, name: bytes) -> None:
    """In one step, so that no worker that is still stopping can put something there again."""
    aside = place(folder, GONE + name + b"-" + os.urandom(4).hex().encode())
    try:
        os.rename(place(folder, name), aside)
    except FileNotFoundError:
        return
    remove_path(place(aside, "slurm", "credentials.json"))  # whatever else may stay


def name_of(entry: bytes) -> bytes:
    """Of the run that a directory belongs to."""
    return entry[len(GONE) :].rpartition(b"-")[0] if entry.startswith(GONE) else entry


def sweep(root: bytes) -> None:
    """Remove what was put aside, also by a helper that ended in the middle of its removal, and what
    has come back of runs that were cleaned up."""
    folder, marks, now = place(root, "runs"), place(root, "marks"), time.time()
    for name in listing(folder):
        if not name.startswith(GONE) and was_cleaned_up(root, name):
            put_aside(folder, name)
    for name in listing(folder):
        if name.startswith(GONE):
            remove_path(place(folder, name, "slurm", "credentials.json"))
            remove_path(place(folder, name))
            remove_path(place(folder, name))  # what was written meanwhile
    for name in listing(root):
        if name.startswith(b".code-") and age(place(root, name), now) > LEFT_S:
            remove_path(place(root, name))
    for name in listing(marks):
        kept = os.path.lexists(place(folder, name))
        if not kept and age(place(marks, name), now) > KEPT_MARK_S:
            remove_path(place(marks, name))


def listing(folder: bytes) -> List[bytes]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def age(path: bytes, now: float) -> float:
    """In seconds; none of what is gone."""
    try:
        return now - os.lstat(path).st_mtime
    except OSError:
        return 0.0


# -- locks


@contextmanager
def locked(folder: bytes) -> Iterator[None]:
    """One at a time, where the file system can."""
    os.makedirs(folder, exist_ok=True)
    with open(place(folder, "lock"), "w") as stream:
        flock(stream, fcntl.LOCK_EX)
        yield


def flock(stream: IO[Any], how: int) -> None:
    try:
        fcntl.flock(stream, how)
    except OSError:
        pass


ASKED = {"greet": greet, "look": look, "tails": tails, "remove": remove}
ASKED.update({"runs": runs, "seal": seal, "forget": forget})


def read_request(stream: IO[bytes]) -> Request:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise CutOff()
    request: Request = json.loads(line.decode())
    return request


def answer_to(request: Request, stream: IO[bytes], pulse: Pulse) -> Request:
    if request["op"] == "fetch":
        return {}
    if request["op"] == "store":
        return store(request, pulse)
    return run(request, stream, pulse) if request["op"] == "run" else ASKED[request["op"]](request)


def words(exc: Exception) -> str:
    if isinstance(exc, OSError):
        return "%s: %s" % (text(exc.filename or "the disk"), exc.strerror or exc)
    return "%s: %s" % (type(exc).__name__, exc)


def main(argv: List[str], incoming: IO[bytes], out: IO[bytes]) -> int:
    os.umask(0o077)
    paths = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(paths if SLURM_BIN in paths else [*paths, SLURM_BIN])
    request = {}  # type: Request
    try:
        request = read_request(incoming)
        with Pulse(out, argv[1], request.get("beat_s", 20)) as pulse:
            answer = answer_to(request, incoming, pulse)
    except CutOff:  # nobody is left to tell
        return 1
    except CleanedUp:
        answer = {"error": "the run was cleaned up", "remedy": "Resume it to go on with it."}
    except Exception as exc:  # noqa: BLE001 - silence would be taken for a lost connection
        answer = {"error": words(exc)}
    try:
        out.write(b"\n" + argv[1].encode() + b"\n" + json.dumps(answer).encode() + b"\n")
        if request.get("op") == "fetch":
            fetch(request, out)
        out.flush()
    except OSError as exc:  # too late for an answer
        sys.stderr.write("%s\n" % words(exc))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv, sys.stdin.buffer, sys.stdout.buffer))
