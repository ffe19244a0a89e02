"""Of a log that ends in a failure, the one line that says what failed."""

from __future__ import annotations

import re

_PREFIX = re.compile(
    r"""
    ^\s*
    (\(\w[\w .-]*\ pid=\d+\)\s*)*                       # the process, where several write one log
    ((DEBUG|INFO|WARNING|ERROR|CRITICAL)\b:?\s*)?
    (\d\d-\d\d\ \d\d:\d\d:\d\d(\.\d+)?\s*)?
    (\[[\w./-]+:\d+\]\s?)?
    """,
    re.VERBOSE,
)
_EXCEPTION = re.compile(r"([A-Za-z_]\w*\.)*([A-Z]\w*(Error|Exception|Exit)|KeyboardInterrupt)(:\s|$)")
_ERROR = re.compile(r"\b(ERROR|CRITICAL)\b|\berror: ")
_NO_MEMORY = re.compile(
    r"out of memory|OutOfMemory|MemoryError|bad_alloc|can't allocate memory|not enough GPU memory"
    r"|No available memory for the cache|less than desired GPU memory|is larger than the available KV cache memory",
    re.IGNORECASE,
)
_POINTS_ELSEWHERE = ("See root cause above", "See stack trace (above)", "RuntimeError: cancelled")
"""What vLLM's processes say when another one of them failed."""
_DIED = re.compile(r"what\(\):|.*\bdied unexpectedly\b")
"""Of a process that nothing was raised in: the last words of C++, and what another saw of its end."""
_SHOWN_CHARACTERS = 300


def told_cause(log: str) -> str:
    """`last_words`, after `out of memory` where they say in some other way that there was not enough."""
    words = last_words(log)
    return f"out of memory: {words}" if _NO_MEMORY.search(words) else words


def last_words(log: str) -> str:
    """The last exception that does not point to another, or how a process died, or the last error, or the last line;
    empty without any.

    What stands before each message of a log (process, level, time, place) is left out.
    """
    lines = [line for line in log.splitlines() if line.strip()]
    messages = [_PREFIX.sub("", line, count=1).strip() for line in lines]
    telling = [text and not any(words in text for words in _POINTS_ELSEWHERE) for text in messages]
    exceptions = [text for text, tells in zip(messages, telling, strict=True) if tells and _EXCEPTION.match(text)]
    deaths = [text for text in messages if _DIED.match(text)]
    errors = [text for line, text, tells in zip(lines, messages, telling, strict=True) if tells and _ERROR.search(line)]
    words = (exceptions or deaths[:1] or errors or messages or [""])[-1]
    return words if len(words) <= _SHOWN_CHARACTERS else f"{words[: _SHOWN_CHARACTERS - 4]} ..."
