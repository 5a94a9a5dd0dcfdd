"""The data file: tables of records in one JSON document.

A change holds a lock, goes to a temporary file and is renamed over the old one, so a crash leaves
either the old data or the new, and two programs at once do not lose each other's changes.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from todo_app.contract import AppError, NotFound

try:
    import fcntl
except ImportError:  # Windows: only the threads of one program are kept apart
    fcntl = None

Record = TypeVar("Record")


class Database:
    """The data file at `path`; it is created by the first change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._open: dict[str, Any] | None = None

    def table(self, name: str, kind: type[Record]) -> Table[Record]:
        """The table of that name, whose records are dataclasses of that kind."""
        return Table(self, name, kind)

    @contextmanager
    def reading(self) -> Iterator[dict[str, Any]]:
        """The data as it is now, including the changes of a transaction of this thread."""
        with self._lock:
            yield self._load() if self._open is None else self._open

    @contextmanager
    def transaction(self) -> Iterator[dict[str, Any]]:
        """The data to change; saved as a whole when the outermost block ends without an error."""
        with self._lock:
            if self._open is not None:
                yield self._open
                return
            with self._other_programs_waiting():
                self._open = self._load()
                try:
                    yield self._open
                    self._save(self._open)
                finally:
                    self._open = None

    @contextmanager
    def _other_programs_waiting(self) -> Iterator[None]:
        try:
            stream = open(f"{self.path}.lock", "a", encoding="utf-8")
        except OSError as error:
            raise AppError(f"cannot write {self.path}: {error.strerror}") from error
        with stream:
            if fcntl is not None:
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _load(self) -> dict[str, Any]:
        try:
            data = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise AppError(f"cannot read {self.path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise AppError(f"{self.path} is damaged: it is not JSON") from error
        if not _is_sound(data):
            raise AppError(f"{self.path} is damaged: it does not hold tables of records")
        return data

    def _save(self, data: dict[str, Any]) -> None:
        try:
            fd, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
            try:
                with os.fdopen(fd, "w", encoding="utf-8") as stream:
                    json.dump(data, stream, indent=2)
                os.replace(temporary, self.path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise AppError(f"cannot write {self.path}: {error.strerror}") from error


class Table(Generic[Record]):
    """The records of one kind, ordered by id. Ids are never used twice."""

    def __init__(self, database: Database, name: str, kind: type[Record]) -> None:
        self._database = database
        self._name = name
        self._kind = kind

    def all(self) -> list[Record]:
        with self._database.reading() as data:
            return [self._record(row) for row in self._section(data)["rows"]]

    def get(self, record_id: int) -> Record:
        """Raises NotFound."""
        with self._database.reading() as data:
            return self._record(self._row(data, record_id))

    def insert(self, **values: Any) -> Record:
        """Store a new record under the next id."""
        with self._database.transaction() as data:
            section = self._section(data)
            record = self._record({"id": section["next_id"], **values})
            section["rows"].append(asdict(record))
            section["next_id"] += 1
            return record

    def update(self, record_id: int, **changes: Any) -> Record:
        """Change values of one record; raises NotFound."""
        with self._database.transaction() as data:
            row = self._row(data, record_id)
            row.update(changes)
            return self._record(row)

    def delete(self, record_id: int) -> Record:
        """Remove and return a record; raises NotFound."""
        with self._database.transaction() as data:
            row = self._row(data, record_id)
            self._section(data)["rows"].remove(row)
            return self._record(row)

    def _section(self, data: dict[str, Any]) -> dict[str, Any]:
        return data.setdefault(self._name, {"next_id": 1, "rows": []})

    def _row(self, data: dict[str, Any], record_id: int) -> dict[str, Any]:
        for row in self._section(data)["rows"]:
            if row["id"] == record_id:
                return row
        raise NotFound(f"there is no id {record_id} in {self._name}")

    def _record(self, row: dict[str, Any]) -> Record:
        try:
            return self._kind(**row)
        except TypeError as error:
            path = self._database.path
            raise AppError(f"{path} is damaged: a bad record in {self._name!r}") from error


def _is_sound(data: Any) -> bool:
    """Whether a document has the form that tables give it."""
    return isinstance(data, dict) and all(
        isinstance(section, dict)
        and isinstance(section.get("next_id"), int)
        and isinstance(section.get("rows"), list)
        and all(isinstance(row, dict) and "id" in row for row in section["rows"])
        for section in data.values()
    )
