"""What of a case's load one client sends: all of it, or a process's part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.core.errors import InputError
from bench.core.load_spec import ClosedLoadSpec
from bench.core.sessions import Session
from bench.core.spec import Spec
from bench.load.arrivals import arrival_times_s


@dataclass(frozen=True, slots=True)
class Share:
    sessions: Sequence[Session]
    """In the order in which they begin."""
    arrivals_s: Sequence[float] | None
    """When each of them is due, in seconds from the start, rising; None where one begins when another ends."""
    places: int
    """Most sessions alive at once."""


def whole_load(spec: Spec, sessions: Sequence[Session]) -> Share:
    """Everything that `spec` asks for. Raises InputError where a session would never begin, or none be the last."""
    load = spec.load
    if isinstance(load, ClosedLoadSpec):
        if load.recycle and spec.measure.max_seconds is None:
            raise InputError(
                "load.recycle = true would never end", where=spec.name, allowed="measure.max_seconds with it"
            )
        # Where sessions recycle, a lane beyond their number begins with the next play.
        return Share(sessions, None, load.concurrency if load.recycle else min(load.concurrency, len(sessions)))
    times_s = arrival_times_s(load, sessions).tolist()
    order = sorted(range(len(sessions)), key=times_s.__getitem__)
    return Share(
        [sessions[index] for index in order],
        [times_s[index] for index in order],
        min(load.max_sessions or len(sessions), len(sessions)),
    )


def all_at_once(sessions: Sequence[Session]) -> Share:
    """`sessions` without waiting for one another: how an engine is warmed up."""
    return Share(sessions, None, len(sessions))


def deal(share: Share, clients: int) -> list[Share]:
    """`share` dealt out to as many clients, or fewer where there is not a place for each.

    Arrivals go round, each with its time, so that together the clients keep one schedule. Without arrivals every client
    has all sessions, and takes the next one by a count that they share. Places are dealt out too: a client does not
    know of another's that are free.
    """
    clients = min(clients, share.places)
    places = [share.places // clients + (client < share.places % clients) for client in range(clients)]
    if share.arrivals_s is None:
        return [replace(share, places=own) for own in places]
    return [
        Share(share.sessions[client::clients], share.arrivals_s[client::clients], own)
        for client, own in enumerate(places)
    ]
