"""Waiting for what happens on another thread or in another process."""

from __future__ import annotations

import time
from collections.abc import Callable

_LOOK_S = 0.02


def soon(true: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether it becomes true in that time."""
    end_s = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end_s:
            return False
        time.sleep(_LOOK_S)
    return True
