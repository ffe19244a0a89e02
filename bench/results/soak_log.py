"""The log of a soak: one JSON line an event, on the disk before the next one happens, readable after any crash.

`soak.jsonl` lies in the soak's folder, beside `segments`, which holds an ordinary result for each time the case was
run. Times are seconds since the soak began, time in which nobody watched included.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from bench.core.errors import InputError
from bench.core.section import Section
from bench.core.spec import Case
from bench.results.folder import told

LOG_FILE = "soak.jsonl"
REPORT_FILE = "soak.json"
SEGMENTS = "segments"
Schema = Literal["neobench.soak/1"]
SCHEMA: Schema = "neobench.soak/1"


class Began(Section):
    """The first line: what is to be run, and for how long."""

    event: Literal["began"] = "began"
    schema_: Schema = Field(default=SCHEMA, alias="schema")
    unix_s: float
    seconds: float
    """How long the case is to be run, time in which nobody watches not counted."""
    case: Case


class Segment(Section):
    """The case was run once, to its end or not. The fields of `bench.metrics.outages.Stretch`, and where it lies."""

    event: Literal["segment"] = "segment"
    unix_s: float
    record: str
    engine: int
    """Which start of the engine it was, from 1; failed starts count."""
    start_s: float
    up_from_s: float | None
    end_s: float
    gone_s: float | None
    failure: str | None
    unanswered: list[tuple[float, float]] = Field(default_factory=list)
    engine_start_s: float | None
    """Seconds the engine took to start, where this segment started it; None where it went on, did not start or, as an
    endpoint, is not started here."""


class Resumed(Section):
    """The soak goes on after a time in which nobody watched: the program had ended, or was killed."""

    event: Literal["resumed"] = "resumed"
    unix_s: float
    at_s: float
    abandoned: list[str]
    """Results that were being written when it was killed. No line tells of them, and they are not counted."""


class Ended(Section):
    event: Literal["ended"] = "ended"
    unix_s: float
    at_s: float
    reason: str


Event: TypeAlias = Began | Segment | Resumed | Ended
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


@dataclass(frozen=True)
class SoakLog:
    """A soak read back."""

    path: Path
    began: Began
    events: tuple[Segment | Resumed | Ended, ...]
    """What followed, in order."""

    @property
    def segments(self) -> list[Segment]:
        return [event for event in self.events if isinstance(event, Segment)]

    @property
    def last_s(self) -> float:
        """The time of the last event, from the beginning."""
        return max((_time_of(event) for event in self.events), default=0.0)

    @property
    def watched_s(self) -> float:
        """So long somebody watched, whatever the engine did."""
        before = [0.0, *(_time_of(event) for event in self.events)]
        away = (
            event.at_s - then for event, then in zip(self.events, before, strict=False) if isinstance(event, Resumed)
        )
        return self.last_s - sum(away)

    @property
    def abandoned(self) -> list[str]:
        """Results that were being written when the program died; nothing counts them."""
        return [name for event in self.events if isinstance(event, Resumed) for name in event.abandoned]

    @property
    def ended(self) -> str | None:
        """Why it ended; None where it was cut off, or goes on."""
        last = self.events[-1] if self.events else None
        return last.reason if isinstance(last, Ended) else None

    @property
    def engine_start_s(self) -> float | None:
        """What the first start of the engine took; None where none succeeded, or the engine is not started here."""
        return next((one.engine_start_s for one in self.segments if one.engine_start_s is not None), None)

    @property
    def last_unix_s(self) -> float:
        return self.events[-1].unix_s if self.events else self.began.unix_s


def read_soak(folder: Path) -> SoakLog:
    """The log in `folder`; a last line that was cut off is left out. Raises InputError where it is no soak's folder."""
    path = folder / LOG_FILE
    try:
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise InputError("is no soak", where=folder, allowed=f"a folder with a {LOG_FILE}") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from None
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", where=path) from None
    events = [_event(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]
    if not events or not isinstance(events[0], Began):
        raise InputError("does not begin with its `began` line", where=path, allowed="a log as `bench` wrote it")
    following = tuple(event for event in events[1:] if not isinstance(event, Began))
    return SoakLog(folder, events[0], following)


def soaks_below(paths: Iterable[Path]) -> list[Path]:
    """The folder of every soak at or below `paths`, each once, sorted."""
    found = {log.parent.resolve(): log.parent for path in paths for log in path.rglob(LOG_FILE)}
    return sorted(found.values())


class SoakWriter:
    """The one writer of the log of the soak in `folder`.

    Raises InputError where another program writes it, StorageError when the disk refuses.
    """

    def __init__(self, folder: Path, *, unix_s: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._path = folder / LOG_FILE
        self._unix_s = unix_s
        with told(self._path):
            self._file = self._path.open("a", encoding="utf-8")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError("is being written by another program", where=self._path) from None
            _cut_broken_line(self._path)

    def append(self, event: type[Event], **fields: Any) -> None:
        """An `event` of now. Returns when it is on the disk."""
        line = _EVENT.dump_json(event(unix_s=self._unix_s(), **fields), by_alias=True)
        with told(self._path):
            self._file.write(line.decode() + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _cut_broken_line(path: Path) -> None:
    """Take away what a crash left of a line, which would spoil the next one."""
    before, newline, _ = path.read_bytes().rpartition(b"\n")
    os.truncate(path, len(before) + len(newline))


def _event(line: str, where: str) -> Event:
    try:
        return _EVENT.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the line"
        raise InputError(f"{place}: {first['msg']}", where=where, allowed="a line as `bench` wrote it") from None


def _time_of(event: Segment | Resumed | Ended) -> float:
    return max(event.end_s, event.gone_s or 0.0) if isinstance(event, Segment) else event.at_s
