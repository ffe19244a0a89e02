"""What the importer of one trace format is: how it tells its files from others, and how it reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.sessions import Session
from bench.workload.stream import LeftOut

MOST = 10**12
"""Of tokens, and of seconds: what a trace has beyond that is a mistake."""
_CHARACTERS_PER_TOKEN = 4


def estimated_tokens(text: str) -> int:
    """Tokens of `text` at four characters each, the usual rule for English, where no tokenizer is at hand."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


@dataclass(frozen=True)
class Head:
    """The beginning of a trace: all that a format is recognised by."""

    columns: tuple[str, ...] = ()
    """Of a CSV file, as its first line has them; empty where that line is JSON."""
    document: Mapping[str, Any] | None = None
    """The first JSON object: the first line, the whole file, or the first element of an array."""


@dataclass(frozen=True)
class Reading:
    """How a trace is to be read."""

    count_tokens: Callable[[str], int] = estimated_tokens
    """Tokens in a text, for formats that hold texts and no counts."""
    seed: int = 0
    """Of formats that sessions are drawn from."""


@dataclass(frozen=True)
class TraceFormat:
    name: str
    about: str
    """One line: what a row is, and whose format it is."""
    attribution: str
    """Licence of the published data and whom to cite."""
    recognises: Callable[[Head], bool]
    sessions: Callable[[Path, Reading], Iterator[Session | LeftOut]]
    """The sessions of a file in its order, as recorded and read as they are asked for. A turn may have no prompt or no
    output: who asks leaves it out. Raises InputError, naming file and line, for a row that is broken."""
    block_tokens: int | None = None
    """Tokens of a hashed block, where prompts are given as such; None where they are not, or the file says."""
    drawn: bool = False
    """Whether sessions are drawn from what the file says, and not recorded in it."""
