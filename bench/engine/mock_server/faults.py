"""What a server may do wrong on purpose, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from bench.core.errors import InputError

FaultKind = Literal[
    "refuse",
    "reset",
    "401",
    "429",
    "500",
    "503",
    "slow_head",
    "garbage",
    "wrong_content_length",
    "stall",
    "truncated",
    "coalesce",
    "split",
    "api_error",
    "no_usage",
    "short",
    "endless",
    "no_done",
    "other_model",
]

FAULT_HEADER = "X-Mock-Fault"
"""A request header that asks for one fault, written as `--fault` has it; `every` has no meaning there."""

MEANING: Mapping[FaultKind, str] = {
    "refuse": "listens no more: new connections are refused; as a flag without `every`, from the start",
    "reset": "resets the connection after `at` tokens; 0, the default, is before any byte of the answer",
    "401": "answers that the key is wrong",
    "429": "answers that there were too many requests, with Retry-After",
    "500": "answers that the server failed",
    "503": "answers that the server is overloaded, with Retry-After",
    "slow_head": "sends the response head in pieces, each a gap after the one before",
    "garbage": "sends bytes that are not HTTP, or after `at` tokens an event that is not JSON",
    "wrong_content_length": "declares more bytes than it sends, and closes",
    "stall": "sends nothing more after `at` tokens, 0 unless said, and keeps the connection",
    "truncated": "closes in the middle of the event after `at` tokens, 1 unless said",
    "coalesce": "sends two events in one write",
    "split": "sends each event in five writes",
    "api_error": "sends an error object as an event after `at` tokens, 1 unless said, and ends the answer",
    "no_usage": "never tells the usage",
    "short": "stops after `at` tokens, half of what was asked unless said, whatever the request pins",
    "endless": "goes on beyond the asked length until the client closes",
    "no_done": "ends the answer without [DONE]",
    "other_model": "answers as another model; as a flag, one that it lists",
}

_AT: Mapping[FaultKind, int | None] = {
    "reset": 0,
    "garbage": 0,
    "stall": 0,
    "truncated": 1,
    "api_error": 1,
    "short": None,
}
"""Faults that may be given a token, and the token without one."""

_FORM = f"KIND[:every=N][:at=TOKEN], KIND one of {', '.join(get_args(FaultKind))}"


@dataclass(frozen=True, slots=True)
class Fault:
    kind: FaultKind
    at: int | None = None
    """Tokens sent before it happens, for kinds that happen inside an answer."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """A fault that every `every`-th request meets."""

    fault: Fault
    every: int | None = None
    """None is every request."""

    def hits(self, number: int) -> bool:
        """Whether it is the turn of request `number`, counted from 1."""
        return number % (self.every or 1) == 0


def parse_rule(text: str, where: str) -> FaultRule:
    """`KIND[:every=N][:at=TOKEN]` as a rule. Raises InputError for anything else."""
    kind, *settings = text.strip().split(":")
    if kind not in get_args(FaultKind):
        raise InputError(repr(text), where=where, allowed=_FORM)
    named = cast(FaultKind, kind)
    numbers: dict[str, int] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        least = {"every": 1, "at": 0}.get(name)
        if least is None or name in numbers or not value.isdecimal() or int(value) < least:
            raise InputError(repr(text), where=where, allowed=_FORM)
        numbers[name] = int(value)
    if "at" in numbers and named not in _AT:
        raise InputError(f"{text!r} has a token", where=where, allowed=f"`at` with {', '.join(_AT)}")
    return FaultRule(Fault(named, numbers.get("at", _AT.get(named))), numbers.get("every"))


def fault_of(rules: Sequence[FaultRule], number: int) -> Fault | None:
    """The fault that request `number` meets: the first rule whose turn it is."""
    return next((rule.fault for rule in rules if rule.hits(number)), None)
