"""The text that tool calls are judged by: each a JSON object with name and arguments, one a line."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bench.engine.http.completion import ToolCall


class ToolCallText:
    """Puts together what arrives in pieces: a name, and then its arguments as fragments of JSON."""

    __slots__ = ("_argued", "_open")

    def __init__(self) -> None:
        self._open = False
        self._argued = False

    def add(self, calls: Sequence[ToolCall]) -> str:
        """What `calls` add to the text."""
        text = ""
        for call in calls:
            if call.function is None:
                continue
            if call.function.name:
                text += f"{self.close()}\n" if self._open else ""
                text += f'{{"name": {json.dumps(call.function.name)}, "arguments": '
                self._open, self._argued = True, False
            if call.function.arguments:
                text += call.function.arguments
                self._argued = True
        return text

    def close(self) -> str:
        """What ends the last call."""
        if not self._open:
            return ""
        self._open = False
        return "}" if self._argued else "{}}"
