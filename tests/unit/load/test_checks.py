"""Which answers pass a check, and that what a model wrote runs within bounds."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from bench.core.sessions import Check
from bench.load.checks import passes


@pytest.mark.parametrize(
    ("expected", "answer", "correct"),
    [
        ("Paris", "  Paris\n", True),
        ("Paris", "paris", False),
        ("42", "The sum is 40 + 2 = 42.", True),
        ("42", "The sum is 42 and not 43", False),
        ("42", "42\nbecause 6 times 7 is that", False),
        ("1000", "First 7.\n\n$1,000.00", True),
        ("42", "so \\boxed{41}, no: \\boxed{42}\nI am 99 % sure", True),
        ("\\frac{1}{2}", "\\boxed{\\frac{1}{2}}", True),
        ("42", "\\boxed{42", True),
        ("42", "6 * 7\n#### 42\nthat is all", True),
        ("42", "#### 41\nor 42", False),
        ("-3", "x = -3", True),
        ("3", "x = -3", False),
        ("", "", True),
        ("42", "", False),
        ("1e3", "1000", True),
        ("1" + "0" * 5000, "1" + "0" * 5000 + ".", True),
    ],
)
def test_exact(expected: str, answer: str, correct: bool) -> None:
    assert passes(Check("exact", expected), answer, 1) is correct


CALL = json.dumps({"name": "book", "arguments": {"seat": 12, "meals": ["a", "b"], "window": True}})


@pytest.mark.parametrize(
    ("answer", "correct"),
    [
        (CALL, True),
        ('{"arguments": {"window": true, "meals": ["a", "b"], "seat": 12.0}, "name": "book"}', True),
        (
            'I book.\n<tool_call>{"name": "look", "arguments": {}}</tool_call>\n<tool_call>' + CALL + "</tool_call>",
            True,
        ),
        ("```json\n" + CALL + "\n```", True),
        (CALL.replace("arguments", "parameters"), True),
        (CALL.replace("book", "look"), False),
        (CALL.replace("true", "1"), False),
        (CALL.replace('"a", "b"', '"b", "a"'), False),
        (CALL.replace('"seat": 12, ', ""), False),
        ('{"name": "book"}', False),
        ("[1]", False),
        ("book it", False),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_tool_call(answer: str, correct: bool) -> None:
    assert passes(Check("tool_call", CALL), answer, 1) is correct


TEST = "assert double(21) == 42"
UNITTEST = """
import unittest
class Doubles(unittest.TestCase):
    def test(self):
        self.assertEqual(double(21), 42)
unittest.main()
"""


@pytest.mark.parametrize(
    ("test", "answer", "correct"),
    [
        (TEST, "Here:\n```python\ndef double(x):\n    return 2 * x\n```\nDone.", True),
        (TEST, "def double(x): return 2 * x", True),
        (TEST, "```\ndouble = None\n```\nbetter:\n```py\ndouble = lambda x: x + x\n```", True),
        (TEST, "```python\ndef double(x):\n    return x\n```", False),
        (TEST, "no code", False),
        (TEST, "raise SystemExit(0)", False),
        (TEST, "def double(x): return 2 * x\nif __name__ == '__main__': input('which number?')", True),
        (UNITTEST, "def double(x): return 2 * x", True),
        (UNITTEST, "def double(x): return x", False),
    ],
)
def test_unit_test(test: str, answer: str, correct: bool) -> None:
    assert passes(Check("unit_test", test), answer, 30) is correct


@pytest.mark.parametrize(
    "answer",
    [
        "x = bytearray(2**31)",
        "open('big', 'wb').write(bytes(2**25))",
        "while True: pass",
        "import time; time.sleep(60)",
    ],
    ids=["memory", "file", "cpu", "sleep"],
)
def test_what_exceeds_its_bounds_does_not_pass(answer: str) -> None:
    assert not passes(Check("unit_test", "pass"), answer, 1)


def test_a_child_that_is_left_ends_with_its_parent(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    answer = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(told)!r}, "w").write(str(child.pid))
"""
    assert passes(Check("unit_test", "pass"), answer, 30)
    pid = int(told.read_text())
    for _ in range(200):
        if not _runs(pid):
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} still runs")


def test_it_sees_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "secret")
    assert passes(Check("unit_test", "assert 'SOME_KEY' not in os.environ"), "import os", 30)
    assert os.environ["SOME_KEY"] == "secret"


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # Ended, and waiting for somebody to ask how
