"""A count that processes share: every number once, in whatever order they ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.client.shared_count import SharedCount

COUNT = """
import sys
from pathlib import Path
from bench.client.shared_count import SharedCount
count = SharedCount(Path(sys.argv[1]))
print(*[next(count) for _ in range(500)])
"""


def test_numbers_are_given_once_and_in_order(tmp_path: Path) -> None:
    file = tmp_path / "count"
    file.touch()
    counting = [
        subprocess.Popen([sys.executable, "-c", COUNT, str(file)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    given = [[int(number) for number in process.communicate(timeout=60)[0].split()] for process in counting]
    assert sorted(number for numbers in given for number in numbers) == list(range(1500))
    assert all(numbers == sorted(numbers) for numbers in given)
    count = SharedCount(file)
    assert next(count) == 1500
    count.close()
