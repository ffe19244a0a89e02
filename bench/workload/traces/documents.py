"""The JSON objects of a file one by one: of JSON lines, of one array, or of one object over many lines."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar, overload

import msgspec

from bench.core.errors import InputError
from bench.workload.traces.lines import LONGEST_LINE, blocks, numbered_lines, opening

T = TypeVar("T")
_ONE_OBJECT = "JSON objects: one a line, one array of them, or one over many lines"
_END_OF_WINDOW = 16
"""Characters from the end within which an object that is only cut off is told to be broken: the longest literal's."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_FIRST_WINDOW = 2**16


@overload
def documents(path: Path) -> Iterator[tuple[int, dict[str, Any]]]: ...
@overload
def documents(path: Path, shape: type[T]) -> Iterator[tuple[int, T]]: ...
def documents(path: Path, shape: Any = dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """Each object of the file at `path` with the number of the line it begins on, as a `shape` that msgspec knows.

    The file is never held whole; an object may have `LONGEST_LINE` characters. Raises InputError, naming the line,
    where the file cannot be read or holds something else.
    """
    if opening(path) == b"[" or _first_goes_on(path):
        for number, value in _values(path):
            yield number, _converted(value, shape, path, number)
    else:
        yield from _one_a_line(path, msgspec.json.Decoder(shape))


def _first_goes_on(path: Path) -> bool:
    """Whether the first line is only the beginning of an object."""
    _, first = next(numbered_lines(path), (0, ""))
    try:
        msgspec.json.decode(first)
    except msgspec.ValidationError:
        return False
    except (ValueError, RecursionError) as error:
        return first.lstrip().startswith("{") and "truncated" in str(error)
    return False


def _one_a_line(path: Path, decoder: msgspec.json.Decoder[T]) -> Iterator[tuple[int, T]]:
    decode = decoder.decode
    for number, text in numbered_lines(path):
        try:
            value = decode(text)
        except (ValueError, RecursionError) as error:
            raise _refusal(error, path, number) from error
        yield number, value


def _converted(value: Any, shape: Any, path: Path, number: int) -> Any:
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise _refusal(error, path, number) from error


def _refusal(error: Exception, path: Path, number: int) -> InputError:
    where = f"{path}:{number}"
    if isinstance(error, msgspec.ValidationError):
        return InputError(str(error), where=where)  # which says what was expected
    return InputError(f"not JSON: {error}", where=where, allowed=_ONE_OBJECT)


def _values(path: Path) -> Iterator[tuple[int, Any]]:
    """The values of one array, or those that stand one after another, with the line each begins on."""
    window = _Window(path)
    if window.take("["):
        yield from _elements(window)
    while not window.at_end():
        yield window.line, window.value()


def _elements(window: _Window) -> Iterator[tuple[int, Any]]:
    """What follows an array's bracket, to its end, which is the file's."""
    first = True
    while not window.take("]"):
        if not first and not window.take(","):
            raise window.mistake("neither a comma nor the array's end follows", 0)
        if window.at_end():
            raise window.mistake("the array has no end", 0)
        yield window.line, window.value()
        first = False
    if not window.at_end():
        raise window.mistake("something follows the array", 0)


class _Window:
    """The part of a file that is held: from the value to be read next to as far as that needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces = _pieces(path)
        self._text = ""
        self._place = 0
        self.line = 1
        self._decoder = json.JSONDecoder(parse_constant=_no_number)

    def at_end(self) -> bool:
        """Whether nothing but white space follows; goes to what does."""
        while True:
            rest = self._text[self._place : self._place + _FIRST_WINDOW]
            blank = len(rest) - len(rest.lstrip())
            self._advance(self._place + blank)
            if blank < len(rest):
                return False
            if not rest and not self._grow(_FIRST_WINDOW):
                return True

    def take(self, sign: str) -> bool:
        """Go past `sign` if it is what comes next."""
        found = not self.at_end() and self._text.startswith(sign, self._place)
        if found:
            self._advance(self._place + 1)
        return found

    def value(self) -> Any:
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                offset = error.pos - self._place
                cut_off = error.msg.startswith("Unterminated") or error.pos >= len(self._text) - _END_OF_WINDOW
                # Twice what was in vain, so that all attempts together read an object no more than twice.
                if cut_off and self._grow(max(_FIRST_WINDOW, len(self._text) - self._place)):
                    continue
                raise self.mistake(f"not JSON at column {error.colno}: {error.msg}", offset) from error
            except (ValueError, RecursionError) as error:
                raise self.mistake(f"JSON that cannot be held: {error}", 0) from error
            if _SURROGATE.search(self._text, self._place, end) and not _is_unicode(value):
                raise self.mistake("a text with half a surrogate pair", 0)
            self._advance(end)
            return value

    def mistake(self, what: str, offset: int) -> InputError:
        line = self.line + self._text.count("\n", self._place, self._place + offset)
        return InputError(what, where=f"{self._path}:{line}", allowed=_ONE_OBJECT)

    def _advance(self, place: int) -> None:
        self.line += self._text.count("\n", self._place, place)
        self._place = place

    def _grow(self, characters: int) -> bool:
        """Hold so many more, and forget what was read. False at the file's end."""
        if len(self._text) - self._place > LONGEST_LINE:
            raise self.mistake("the object is too long", 0)
        pieces = [self._text[self._place :]]
        self._place, missing = 0, characters
        while missing > 0 and (piece := next(self._pieces, "")):
            pieces.append(piece)
            missing -= len(piece)
        self._text = "".join(pieces)
        return len(pieces) > 1


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _pieces(path: Path) -> Iterator[str]:
    """The file's text as it comes, never empty; line ends are as they are."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = 0
    try:
        for block in blocks(path):
            if text := decoder.decode(block):
                yield text
            lines += block.count(b"\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line = 1 + lines + error.object.count(b"\n", 0, error.start)
        raise InputError("not UTF-8", where=f"{path}:{line}", allowed="UTF-8") from error
