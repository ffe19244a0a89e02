"""Tasks: requests in real words whose answers can be told to be correct, one JSON object a line.

    {"id": "one", "prompt": "2 + 2?", "check": {"kind": "exact", "expected": "4"}, "max_tokens": 64}

`messages`, each with `role` and `content`, may stand in place of `prompt`. What `expected` means is said by
`bench.core.sessions.Check`; for `tool_call` it may be the object itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from bench.core.configs import resolve
from bench.core.errors import InputError
from bench.core.section import Section
from bench.core.sessions import Check, Role, Segment, Session, Turn
from bench.core.spec import TasksSpec
from bench.core.suite import parse
from bench.workload.stream import SessionStream
from bench.workload.traces.documents import documents


class GivenMessage(Section):
    role: Role
    content: str = Field(min_length=1)


class GivenCheck(Section):
    kind: Literal["exact", "tool_call", "unit_test"]
    expected: str | dict[str, Any]

    @model_validator(mode="after")
    def _is_of_its_kind(self) -> GivenCheck:
        if self.kind != "tool_call":
            if not isinstance(self.expected, str):
                raise ValueError("a text as expected, but for kind tool_call")
            return self
        call = _parsed(self.expected) if isinstance(self.expected, str) else self.expected
        if not (
            isinstance(call, dict) and isinstance(call.get("name"), str) and isinstance(call.get("arguments"), dict)
        ):
            raise ValueError("an object with name and arguments as expected")
        return self

    @property
    def check(self) -> Check:
        return Check(self.kind, self.expected if isinstance(self.expected, str) else json.dumps(self.expected))


class GivenTask(Section):
    id: str = Field(min_length=1)
    prompt: str | None = Field(default=None, min_length=1)
    messages: tuple[GivenMessage, ...] = ()
    check: GivenCheck
    max_tokens: PositiveInt

    @model_validator(mode="after")
    def _is_asked_in_one_way(self) -> GivenTask:
        if (self.prompt is None) != bool(self.messages):
            raise ValueError("either prompt or messages")
        return self

    @property
    def asked(self) -> tuple[GivenMessage, ...]:
        return self.messages or (GivenMessage(role="user", content=self.prompt or ""),)


def task_sessions(spec: TasksSpec, count_tokens: Callable[[str], int]) -> SessionStream:
    """Each task as a session of one turn, in the file's order. Raises InputError where the file is missing.

    Reading on raises it, naming the line, for a task that is broken, and for one whose check runs code that the model
    wrote where the suite does not say that it may.
    """
    path = resolve(spec.path, "tasks", ".jsonl")
    return SessionStream("tasks", "the file's own", _sessions(path, spec.run_code, count_tokens))


def _sessions(path: Path, run_code: bool, count_tokens: Callable[[str], int]) -> Iterator[Session]:
    seen: set[str] = set()
    for number, document in documents(path):
        where = f"{path}:{number}"
        task = parse(GivenTask, document, where)
        if task.id in seen:
            raise InputError(f"a second task with id {task.id!r}", where=where, allowed="each id once")
        if task.check.kind == "unit_test" and not run_code:
            raise InputError(
                "a check of kind unit_test runs code that the model wrote",
                where=where,
                allowed="workload.run_code: true",
            )
        seen.add(task.id)
        prompt = tuple(_segment(message, count_tokens) for message in task.asked)
        yield Session(task.id, (Turn(0, prompt, task.max_tokens, check=task.check.check),))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _segment(message: GivenMessage, count_tokens: Callable[[str], int]) -> Segment:
    words = f"{message.role}\0{message.content}".encode()
    key = f"tasks/{hashlib.blake2b(words, digest_size=12).hexdigest()}"
    return Segment(key, max(1, count_tokens(message.content)), role=message.role, text=message.content)
