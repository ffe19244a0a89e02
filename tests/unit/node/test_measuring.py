"""The process that measures may crash, hang, lose its GPU or never start: what it told stays, the rest says why."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from waiting import soon

from bench.core.module_process import start_module
from bench.node.measured.figure import Figure
from bench.node.measured.measuring import Failure, Measurement, Patience, measure
from bench.node.measured.messages import Job, Ready

MADE_UP = Figure(2.0, 1.5, 3.0, 3, "made up")
ALLOWED_S = 30.0
"""More than any of these processes takes."""


@pytest.fixture
def meeting(tmp_path: Path) -> Callable[..., Measurement]:
    """`meeting("crash")` measures with a process that meets that."""

    def run(fate: str, seconds: float = ALLOWED_S, patience: Patience = Patience()) -> Measurement:
        (tmp_path / "fate").write_text(fate)
        return measure(seconds, tmp_path, lambda name, figure: None, "failing_measurer", patience)

    return run


def test_what_a_process_tells_is_the_measurement(meeting: Callable[..., Measurement], tmp_path: Path) -> None:
    measurement = meeting("nothing")
    assert measurement.figures == dict.fromkeys(("first", "second", "third"), MADE_UP)
    assert (measurement.failures, measurement.torch, measurement.threads) == ((), "2.0", 4)
    told = measurement.as_dict()
    assert told["measured"]["first"] == asdict(MADE_UP)
    assert told["measurement"]["seconds"] == ALLOWED_S
    assert len(pids(tmp_path)) == 1


def test_after_a_crash_another_process_measures_the_rest(meeting: Callable[..., Measurement], tmp_path: Path) -> None:
    measurement = meeting("crash")
    why = "the process that measures was ended by SIGKILL: the driver has met something"
    assert measurement.failures == (Failure("crashed", ("second",), why),)
    assert measurement.figures["second"].value is None
    assert measurement.figures["second"].reason == why
    assert measurement.figures["first"] == measurement.figures["third"] == MADE_UP
    assert len(pids(tmp_path)) == 2


def test_a_figure_that_hangs_is_ended_and_named(meeting: Callable[..., Measurement], tmp_path: Path) -> None:
    measurement = meeting("hang", patience=Patience(grace=0.5))
    (failure,) = measurement.failures
    assert (failure.code, failure.during) == ("hung", ("second",))
    assert measurement.figures["third"] == MADE_UP
    assert not any(map(is_alive, pids(tmp_path)))


def test_a_lost_device_is_told_apart_from_the_figure_it_was_lost_in(meeting: Callable[..., Measurement]) -> None:
    measurement = meeting("lose")
    assert [(failure.code, failure.during) for failure in measurement.failures] == [("device_lost", ("second",))]
    assert measurement.figures["second"].reason == "an illegal memory access"
    assert measurement.figures["third"] == MADE_UP


def test_what_there_is_no_time_for_says_after_what(meeting: Callable[..., Measurement], tmp_path: Path) -> None:
    measurement = meeting("crash", seconds=0.001)
    assert measurement.figures["first"] == MADE_UP
    reason = measurement.figures["third"].reason
    assert reason is not None
    assert reason.startswith("not begun: the process that measures was ended by SIGKILL")
    assert len(pids(tmp_path)) == 1


def test_a_process_that_never_starts_is_a_failure_without_figures(tmp_path: Path) -> None:
    measurement = measure(ALLOWED_S, tmp_path, lambda name, figure: None, "no_such_module")
    (failure,) = measurement.failures
    assert (failure.code, failure.during) == ("crashed", ())
    assert "No module named no_such_module" in failure.message
    assert (measurement.figures, measurement.torch) == ({}, None)


def test_an_interrupt_leaves_no_process_behind(tmp_path: Path) -> None:
    (tmp_path / "fate").write_text("hang")

    def interrupt(name: str, figure: Figure) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(ALLOWED_S, tmp_path, interrupt, "failing_measurer")
    (pid,) = pids(tmp_path)
    assert soon(lambda: not is_alive(pid))


def test_a_process_that_fails_before_it_begins_is_not_started_again_and_again(
    meeting: Callable[..., Measurement], tmp_path: Path
) -> None:
    measurement = meeting("crash at every later start")
    assert [failure.during for failure in measurement.failures] == [("second",), ()]
    assert measurement.figures["first"] == MADE_UP
    assert str(measurement.figures["third"].reason).startswith("not begun: ")
    assert len(pids(tmp_path)) == 2


def test_when_its_parent_is_gone_a_process_ends(tmp_path: Path) -> None:
    (tmp_path / "fate").write_text("hang")
    process, connection = start_module("failing_measurer")
    connection.send(Job(ALLOWED_S, str(tmp_path), frozenset()))
    assert isinstance(connection.recv(), Ready)
    connection.close()
    assert process.wait(ALLOWED_S) == 0


def pids(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "pids").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
