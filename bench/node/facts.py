"""Facts a machine may or may not tell: every one it keeps to itself is null, with the reason beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class AbsentError(Exception):
    """Something this machine does not tell. Its text is the reason."""


class Facts:
    """Named facts of one thing, and why some are missing."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._missing: dict[str, str] = {}

    def take(self, name: str, read: Callable[[], T]) -> T | None:
        """Read a fact, keep it under `name` and return it; None when `read` raises AbsentError."""
        try:
            value = read()
        except AbsentError as absent:
            self._values[name] = None
            self._missing[name] = str(absent)
            return None
        self._values[name] = value
        return value

    def as_dict(self) -> dict[str, Any]:
        """The facts, and under `missing` the reason for every null among them."""
        return {**self._values, "missing": dict(self._missing)}


def all_missing(names: Iterable[str], reason: str) -> dict[str, Any]:
    """The facts of something that tells none of `names`, all for one reason."""
    names = tuple(names)
    return {**dict.fromkeys(names), "missing": dict.fromkeys(names, reason)}


def told(answer: T | None, otherwise: str) -> T:
    """`answer`, where there is one. Raises AbsentError with the reason `otherwise`."""
    if answer is None:
        raise AbsentError(otherwise)
    return answer


def read_text(path: Path) -> str:
    """The text of a file of /proc or /sys, stripped. Raises AbsentError when it cannot be read or says nothing."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip("\n\0 ")
    except FileNotFoundError:
        raise AbsentError(f"{path} does not exist") from None
    except PermissionError:
        raise AbsentError(
            f"{path} may not be read: root, CAP_DAC_READ_SEARCH or another file mode would allow it"
        ) from None
    except OSError as error:
        raise AbsentError(f"{path} cannot be read: {error.strerror}") from error
    if not text:
        raise AbsentError(f"{path} is empty")
    return text


def read_int(path: Path) -> int:
    """The whole number in a file. Raises AbsentError when it cannot be read or is not one."""
    text = read_text(path)
    try:
        return int(text)
    except ValueError:
        raise AbsentError(f"{path} holds {text[:40]!r}, not a whole number") from None


def count_cpu_list(text: str) -> int:
    """How many CPUs a kernel list such as `0-3,8` names. Raises AbsentError when it is not one."""
    try:
        ranges = [part.split("-") for part in text.split(",")]
        return sum(int(ends[-1]) - int(ends[0]) + 1 for ends in ranges)
    except ValueError:
        raise AbsentError(f"{text[:40]!r} is not a list of CPUs") from None
