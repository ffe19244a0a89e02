"""Facts a machine may or may not tell: every one it keeps to itself is null, with the reason beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
            self._keep(name, absent)
            return None
        self._keep(name, value)
        return value

    def take_all(self, names: Sequence[str], read: Callable[[], Iterable[Any]]) -> None:
        """Read the facts `names` at once. An AbsentError in place of one of the answers is the reason for that one."""
        try:
            answers = tuple(read())
        except AbsentError as absent:
            answers = (absent,) * len(names)
        for name, answer in zip(names, answers, strict=True):
            self._keep(name, answer)

    def _keep(self, name: str, answer: Any) -> None:
        if isinstance(answer, AbsentError):
            self._missing[name] = str(answer)
            answer = None
        self._values[name] = answer

    def as_dict(self) -> dict[str, Any]:
        """The facts, and under `missing` the reason for every null among them."""
        return {**self._values, "missing": dict(self._missing)}


def all_missing(names: Iterable[str], reason: str) -> dict[str, Any]:
    """The facts of something that tells none of `names`, all for one reason."""
    names = tuple(names)
    return {**dict.fromkeys(names), "missing": dict.fromkeys(names, reason)}


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of several readers as those of one thing."""
    values = {name: value for part in parts for name, value in part.items()}
    return {**values, "missing": {name: reason for part in parts for name, reason in part["missing"].items()}}


def told(answer: T | None, otherwise: str) -> T:
    """`answer`, where there is one. Raises AbsentError with the reason `otherwise`."""
    if answer is None:
        raise AbsentError(otherwise)
    return answer


def named(names: Sequence[str], what: str, number: int) -> str:
    """What the number of `what` stands for. Raises AbsentError for one beyond `names`."""
    if not 0 <= number < len(names):
        raise AbsentError(f"{what} {number} is not known")
    return names[number]


def read_text(path: Path, limit: int = -1) -> str:
    """The text of a file of /proc or /sys, stripped; no more than its first `limit` characters where that is given.

    Raises AbsentError when it cannot be read or says nothing.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(limit).strip("\n\0 ")
    except OSError as error:
        raise why_absent(path, error) from error
    if not text:
        raise AbsentError(f"{path} is empty")
    return text


def read_int(path: Path) -> int:
    """The whole number in a file. Raises AbsentError when it cannot be read or is not one."""
    return whole_number(path, read_text(path))


def whole_number(path: Path, text: str) -> int:
    """The number that `text`, which stands in a file, is. Raises AbsentError when it is none."""
    try:
        return int(text)
    except ValueError:
        raise AbsentError(f"{path} holds {text[:40]!r}, not a whole number") from None


def chosen_in(path: Path) -> str:
    """What a file has in brackets: `madvise` of `always [madvise] never`. Raises AbsentError where there are none."""
    text = read_text(path)
    chosen = text.partition("[")[2].partition("]")[0]
    return told(chosen or None, f"{path} says {text[:40]!r}, in which nothing is chosen")


def entries_of(folder: Path) -> list[Path]:
    """What is in a folder, by name. Raises AbsentError when it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise why_absent(folder, error) from error


def exists(path: Path) -> bool:
    """Whether something is there; no for what may not be looked at."""
    try:
        return path.exists()
    except OSError:
        return False


def link_target(path: Path) -> str:
    """The last name in what a link of /sys points to. Raises AbsentError where there is none."""
    try:
        return path.readlink().name
    except OSError as error:
        raise why_absent(path, error) from error


def count_cpu_list(text: str) -> int:
    """How many CPUs a kernel list such as `0-3,8` names. Raises AbsentError when it is not one."""
    try:
        ranges = [part.split("-") for part in text.split(",")]
        return sum(int(ends[-1]) - int(ends[0]) + 1 for ends in ranges)
    except ValueError:
        raise AbsentError(f"{text[:40]!r} is not a list of CPUs") from None


def why_absent(path: Path, error: OSError) -> AbsentError:
    """What it means that the system does not let `path` be read."""
    match error:
        case FileNotFoundError():
            return AbsentError(f"{path} does not exist")
        case PermissionError():
            return AbsentError(f"{path} may not be read: root, CAP_DAC_READ_SEARCH or another file mode would allow it")
        case _:
            return AbsentError(f"{path} cannot be read: {error.strerror}")
