"""Runs the answer's code and then the test of it, in the folder it is started in and within bounds.

This file is a program: `python -I confined.py SECONDS`. It imports nothing of the project.
"""

from __future__ import annotations

import math
import resource
import sys
from pathlib import Path

ANSWER = "answer.py"
TEST = "test.py"
_MEMORY_BYTES = 2**30
_FILE_BYTES = 2**24


def main(seconds: float) -> None:
    source = {name: Path(name).read_text(encoding="utf-8") for name in (ANSWER, TEST)}
    _bound(resource.RLIMIT_CPU, math.ceil(seconds))
    _bound(resource.RLIMIT_AS, _MEMORY_BYTES)
    _bound(resource.RLIMIT_FSIZE, _FILE_BYTES)
    _bound(resource.RLIMIT_CORE, 0)
    sys.argv = [TEST]
    names = sys.modules["__main__"].__dict__  # Where unittest.main looks for tests
    names["__name__"] = "answer"  # The answer is not the program: what it does as one is not run
    try:
        exec(compile(source[ANSWER], ANSWER, "exec"), names)
    except SystemExit:
        sys.exit(1)  # An answer that ends itself never comes to the test
    names["__name__"] = "__main__"
    exec(compile(source[TEST], TEST, "exec"), names)


def _bound(kind: int, most: int) -> None:
    resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main(float(sys.argv[1]))
