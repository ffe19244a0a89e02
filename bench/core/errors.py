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

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle by their positional arguments; this one has to cross from an engine's process.
        return _input_error, (self.what, self.where, self.allowed)


class EngineError(BenchError):
    """The engine or the machine under it failed; the run cannot go on."""


class StorageError(BenchError):
    """The place given for results takes no more; what was written before stays readable."""

    exit_code = 2


def _input_error(what: str, where: str | None, allowed: str | None) -> InputError:
    return InputError(what, where=where, allowed=allowed)


def first_told(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of failures that came together, the one a user should hear of: ours if there is one, else the first."""
    told: BaseException = group.subgroup(BenchError) or group
    while isinstance(told, BaseExceptionGroup):
        told = told.exceptions[0]
    return told
