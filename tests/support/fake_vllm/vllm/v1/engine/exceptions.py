"""What it raises once its engine core is gone."""

from __future__ import annotations


class EngineDeadError(Exception):
    def __init__(self) -> None:
        super().__init__("EngineCore encountered an issue. See stack trace (above) for the root cause.")
