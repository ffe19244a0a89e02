"""Telling whether an answer is correct.

`exact`: the answer, or what it gives as its result, equals the expected text but for white space at the ends. The
result is what stands in the last `\\boxed{}`; without one, what follows the last `####` on its line; without that, the
last line or the last number in it. Two numbers are equal by value: 1,000 is 1000.0, and a dollar sign before or a full
stop after one does not count.

`tool_call`: the answer is a JSON object, or has one between `<tool_call>` tags or in a fenced block, the last of which
counts; it has the expected name, and under `arguments` or `parameters` the expected values. The order of keys does not
matter; 1 is 1.0, and true is not 1.

`unit_test`: the last fenced block of the answer, or else all of it, runs as Python before the expected code, and that
ends with exit code 0. This runs code that a model wrote, on this machine and as this user: in a process of its own, in
an empty folder, with no environment and bounds on CPU time, memory and file size, which is ended with all its children
when its time is up. That keeps accidents small. It is no jail: files and the network can be reached, and code that
means to deceive can end the process with 0.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from bench.core.sessions import Check
from bench.load import confined

_BOXED = "\\boxed{"
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")
_TOOL_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_FENCED = re.compile(r"^```[^\n`]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def passes(check: Check, answer: str, limit_s: float) -> bool:
    """Whether `answer` is correct, as far as `check` tells; one that takes longer than `limit_s` to tell is not.

    It blocks for as long. Raises OSError where no process can be started.
    """
    match check.kind:
        case "exact":
            return _is_exact(check.expected, answer)
        case "tool_call":
            return _is_call(check.expected, answer)
        case "unit_test":
            return _passes_test(check.expected, answer, limit_s)


def _is_exact(expected: str, answer: str) -> bool:
    return any(_equal(expected.strip(), given) for given in (answer.strip(), *_results(answer.strip())))


def _results(answer: str) -> list[str]:
    """What `answer` gives as its result, in the forms that count."""
    boxed = _last_boxed(answer)
    if boxed is not None:
        return [boxed.strip()]
    _, marked, result = answer.rpartition("####")
    if marked:
        return [result.partition("\n")[0].strip()]
    last_line = answer.rpartition("\n")[2].strip()
    return [last_line, *_NUMBER.findall(last_line)[-1:]]


def _last_boxed(answer: str) -> str | None:
    """What stands between the braces of the last box, braces within them counted."""
    start = answer.rfind(_BOXED)
    if start < 0:
        return None
    depth = 1
    for place in range(start + len(_BOXED), len(answer)):
        depth += {"{": 1, "}": -1}.get(answer[place], 0)
        if depth == 0:
            return answer[start + len(_BOXED) : place]
    return None


def _equal(expected: str, given: str) -> bool:
    if expected == given:
        return True
    wanted, found = _number(expected), _number(given)
    return wanted is not None and wanted == found


def _number(text: str) -> Decimal | None:
    text = text.strip().removeprefix("$").removesuffix(".")
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None


def _is_call(expected: str, answer: str) -> bool:
    wanted = json.loads(expected)
    texts = [answer, *_FENCED.findall(answer)[-1:], *_TOOL_CALL.findall(answer)[-1:]]
    for text in texts:
        try:
            call = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(call, dict):
            arguments = call.get("arguments", call.get("parameters"))
            return call.get("name") == wanted["name"] and _same(wanted["arguments"], arguments)
    return False


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(_same(value, found[key]) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_same, wanted, found))
    return isinstance(wanted, bool) == isinstance(found, bool) and bool(wanted == found)


def _passes_test(test: str, answer: str, limit_s: float) -> bool:
    code = (_FENCED.findall(answer) or [answer])[-1]
    with tempfile.TemporaryDirectory(prefix="bench-check-", ignore_cleanup_errors=True) as folder:
        Path(folder, confined.ANSWER).write_text(code, encoding="utf-8", errors="replace")
        Path(folder, confined.TEST).write_text(test, encoding="utf-8", errors="replace")
        process = subprocess.Popen(
            [sys.executable, "-I", confined.__file__, str(limit_s)],
            cwd=folder,
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(limit_s) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End `process` and every child it left; its group is its own, for it leads a session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
