"""ShareGPT conversations: what a human and an assistant wrote to each other, without times.

A conversation is a session, each of the assistant's answers a turn: its prompt is everything written before it, its
output as long as the answer that was given. How long the human took is not recorded, so nothing is waited for. A
conversation that ends with the human's words ends with a turn without output.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.core.errors import InputError
from bench.core.sessions import Message, Role, Session
from bench.workload.traces.conversation import History, recorded_turns
from bench.workload.traces.documents import documents
from bench.workload.traces.format import Head, Reading, TraceFormat

_ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "assistant": "assistant",
    "function_call": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}


class _Said(msgspec.Struct):
    speaker: str = msgspec.field(name="from")
    value: str


class _Conversation(msgspec.Struct):
    conversations: list[_Said]


def sessions(path: Path, reading: Reading) -> Iterator[Session]:
    """The conversations; those in which nothing was asked are no sessions. Raises InputError with file and line for one
    that is broken."""
    for place, (number, recorded) in enumerate(documents(path, _Conversation)):
        where = f"{path}:{number}"
        messages = [Message(_role(said, where), said.value) for said in recorded.conversations]
        # Published ids are not unique, and some files have none.
        name = f"conversation-{place}"
        turns = recorded_turns(messages, History(name, reading.count_tokens))
        if turns:
            yield Session(name, turns)


def _role(said: _Said, where: str) -> Role:
    role = _ROLES.get(said.speaker)
    if role is None:
        raise InputError(f"from = {said.speaker[:40]!r}", where=where, allowed=", ".join(_ROLES))
    return role


def _recognises(head: Head) -> bool:
    return head.document is not None and isinstance(head.document.get("conversations"), list)


FORMAT = TraceFormat(
    "sharegpt",
    "a JSON object a conversation, of ShareGPT: conversations, each with from and value",
    "format of the ShareGPT conversations; published collections of them have no licence of their authors",
    _recognises,
    sessions,
)
