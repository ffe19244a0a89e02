"""How much of each prompt was already sent: the most that a prefix cache may hit."""

from __future__ import annotations

from bench.core.records import Turn
from bench.workload.framing import ChatFraming


class SharedPrefix:
    """Remembers the prompts of a run by their segment keys, as a tree.

    Framing replaces a prompt's last tokens, so of a prompt that a later one continues, all but those is shared.
    """

    def __init__(self, framing: ChatFraming | None = None) -> None:
        self._framing = framing
        # Framed and unframed prompts differ from their first token on: each kind has a root of its own.
        self._reached: list[int] = [0, 0]
        """For each node, how many leading tokens some prompt through it had as its path says."""
        self._children: dict[tuple[int, str], int] = {}
        self._whole: set[tuple[int, int]] = set()
        """Where each prompt's own tokens end, and its length: prompts equal in both are the same."""

    def add(self, turn: Turn) -> int:
        """Count the leading tokens of `turn`'s prompt that earlier calls had, and remember the prompt."""
        total = turn.prompt_tokens
        framing = self._framing if self._framing is not None and self._framing.fits(total) else None
        own = total - (len(framing.tail) if framing else 0)
        node = 0 if framing else 1
        shared = self._reached[node]
        if framing:
            self._reached[node] = len(framing.head)
        length = 0
        for segment in turn.prompt:
            node = self._child(node, segment.key)
            length = min(length + segment.tokens, own)
            shared = max(shared, min(self._reached[node], own))
            self._reached[node] = max(self._reached[node], length)
            if length == own:
                break
        if (node, total) in self._whole:
            return total
        self._whole.add((node, total))
        return shared

    def _child(self, node: int, key: str) -> int:
        child = self._children.setdefault((node, key), len(self._reached))
        if child == len(self._reached):
            self._reached.append(0)
        return child
