"""What passes between a run and its client processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import msgspec

from bench.core.records import ClientLoad, Counters, Progress, TurnRow
from bench.core.spec import Spec
from bench.load.share import Share


@dataclass(frozen=True, slots=True)
class Work:
    """What one process is to send, and with what."""

    spec: Spec
    model: str
    """Folder of the model."""
    salt: str
    share: Share
    count: str | None
    """File with the count of begun sessions that all processes share; None where every session has its time."""


@dataclass(frozen=True, slots=True)
class Begin:
    start_ns: int
    """On the machine's monotonic clock."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Cancel what is in flight."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine is started, and nothing is left to do before turns are sent."""


class Sent(NamedTuple):
    """A turn that was sent."""

    t_ns: int
    session_id: str
    turn_index: int
    play: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What happened up to `until_ns`, since the batch before."""

    until_ns: int
    sent: list[Sent]
    rows: bytes
    """`TurnRow`s, as `encode_rows` made them."""
    progress: Progress
    """Since the beginning."""
    counters: Counters


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing follows."""

    load: ClientLoad | None
    did: dict[str, Any] = field(default_factory=dict)
    """What the process's engine describes."""


@dataclass(frozen=True, slots=True)
class Failed:
    line: str


Order: TypeAlias = Work | Begin | Stop
Report: TypeAlias = Ready | Batch | Ended | Failed

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[TurnRow])


def encode_rows(rows: list[TurnRow]) -> bytes:
    """In a third of pickle's time."""
    return _encoder.encode(rows)


def decode_rows(rows: bytes) -> list[TurnRow]:
    return _decoder.decode(rows)
