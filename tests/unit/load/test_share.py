"""A load dealt out to clients: together they keep the schedule of one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from driving import chain, spec

from bench.core.spec import ClosedLoadSpec, ConstantLoadSpec, TraceLoadSpec
from bench.load.share import deal, whole_load

SESSIONS = [chain(f"s{i}", 1) for i in range(10)]


@pytest.mark.parametrize("clients", [1, 2, 3])
def test_arrivals_go_round_with_their_times(clients: int) -> None:
    share = whole_load(spec(ConstantLoadSpec(kind="constant", sessions_per_s=2, max_sessions=7)), SESSIONS)
    dealt = deal(share, clients)
    assert len(dealt) == clients
    assert sum(part.places for part in dealt) == 7
    kept = sorted(
        (t, session.id) for part in dealt for t, session in zip(part.arrivals_s or (), part.sessions, strict=True)
    )
    assert kept == [(i / 2, f"s{i}") for i in range(10)]
    assert all(list(part.arrivals_s or ()) == sorted(part.arrivals_s or ()) for part in dealt)


def test_lanes_are_dealt_out_and_every_client_knows_every_session() -> None:
    dealt = deal(whole_load(spec(ClosedLoadSpec(kind="closed", concurrency=8)), SESSIONS), 3)
    assert [part.places for part in dealt] == [3, 3, 2]
    assert all(part.sessions is SESSIONS for part in dealt)


def test_there_are_no_clients_without_a_place() -> None:
    assert len(deal(whole_load(spec(ClosedLoadSpec(kind="closed", concurrency=2)), SESSIONS), 5)) == 2
    assert len(deal(whole_load(spec(ConstantLoadSpec(kind="constant", sessions_per_s=2)), SESSIONS[:3]), 5)) == 3


def test_sessions_of_a_trace_are_put_in_the_order_of_their_arrivals() -> None:
    recorded = [replace(session, arrival_s=float(-i % 10)) for i, session in enumerate(SESSIONS)]
    share = whole_load(spec(TraceLoadSpec(kind="trace")), recorded)
    assert [session.id for session in share.sessions] == ["s0", *(f"s{i}" for i in range(9, 0, -1))]
    assert share.arrivals_s == [float(i) for i in range(10)]


def test_there_are_as_many_places_as_sessions_but_where_they_recycle() -> None:
    load = ClosedLoadSpec(kind="closed", concurrency=20)
    assert whole_load(spec(load), SESSIONS).places == 10
    recycled = load.model_copy(update={"recycle": True})
    assert whole_load(spec(recycled, max_seconds=1.0), SESSIONS).places == 20
