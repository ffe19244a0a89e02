"""Failures a user can meet, each with the exit code the command returns for it."""

from __future__ import annotations


class BenchError(Exception):
    """A failure that is told in one line and ends the command with `exit_code`."""

    exit_code = 3


class InputError(BenchError):
    """Something the user gave is wrong: what it is, where it stands, what is allowed there."""

    exit_code = 2

    def __init__(self, what: str, *, where: object = None, allowed: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.allowed = allowed
        line = what if self.where is None else f"{self.where}: {what}"
        super().__init__(line if allowed is None else f"{line} (allowed: {allowed})")


class EngineError(BenchError):
    """The engine or the machine under it failed; the run cannot go on."""
