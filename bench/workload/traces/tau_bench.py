"""tau-bench trajectories: an agent that serves a simulated user with tools, word by word, without times.

A trajectory is a session, named by its task and trial; each message of the agent is a turn whose prompt is everything
said before it, results of tools included. A call of a tool is told as one line of JSON in the agent's words. What tools
and users took is not recorded, so nothing is waited for. The user's last words, which end a trajectory, ask nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from bench.core.errors import InputError
from bench.core.sessions import Message, Session
from bench.workload.traces.conversation import History, call_text, recorded_turns
from bench.workload.traces.documents import documents
from bench.workload.traces.format import Head, Reading, TraceFormat


class _Function(msgspec.Struct):
    name: str
    arguments: Any


class _Call(msgspec.Struct):
    function: _Function


class _Said(msgspec.Struct):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Trajectory(msgspec.Struct):
    task_id: int | str
    traj: list[_Said]
    trial: int = 0


def sessions(path: Path, reading: Reading) -> Iterator[Session]:
    """The trajectories. Raises InputError with file and line for one that is broken or stands there twice."""
    seen: set[str] = set()
    for number, recorded in documents(path, _Trajectory):
        name = f"task-{recorded.task_id}/trial-{recorded.trial}"
        if name in seen:
            raise InputError(f"a second {name}", where=f"{path}:{number}", allowed="each trial of a task once")
        seen.add(name)
        messages = [_message(said) for said in recorded.traj]
        while messages and messages[-1].role != "assistant":
            messages.pop()
        turns = recorded_turns(messages, History(name, reading.count_tokens))
        if turns:
            yield Session(name, turns)


def _message(said: _Said) -> Message:
    calls = [call_text(call.function.name, call.function.arguments) for call in said.tool_calls or ()]
    return Message(said.role, "\n".join([said.content, *calls] if said.content else calls))


def _recognises(head: Head) -> bool:
    return head.document is not None and {"task_id", "traj"} <= head.document.keys()


FORMAT = TraceFormat(
    "tau-bench",
    "a JSON object a trajectory, of tau-bench: task_id, trial, traj with the messages",
    "format of tau-bench; the published trajectories (github.com/sierra-research/tau-bench) are MIT",
    _recognises,
    sessions,
)
