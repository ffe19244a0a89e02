"""Ends a text where one of several strings occurs, however the text is cut into pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes a text on up to the first of the strings, and keeps back no more than may be the beginning of one.

    The first is the one that is whole first, as if the text came by characters; of several at once the longest.
    """

    __slots__ = ("_held", "_strings", "matched")

    def __init__(self, strings: Sequence[str]) -> None:
        """None of them empty."""
        self._strings = tuple(strings)
        self._held = ""
        self.matched = False
        """One of them has come; nothing behind it is passed on."""

    def push(self, text: str) -> str:
        """What of `text`, and of what was kept back, is certain to be before any of the strings."""
        text = self._held + text
        found = [(place + len(string), place) for string in self._strings if (place := text.find(string)) >= 0]
        if found:
            self.matched, self._held = True, ""
            _, begins = min(found)
            return text[:begins]
        kept = max(_begun(text, string) for string in self._strings)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def flush(self) -> str:
        """What was kept back, when nothing follows."""
        held, self._held = self._held, ""
        return held


def _begun(text: str, string: str) -> int:
    """How many characters at the end of `text` begin `string`, which it does not hold."""
    place = text.find(string[0], max(0, len(text) - len(string) + 1))
    while place >= 0:
        if string.startswith(text[place:]):
            return len(text) - place
        place = text.find(string[0], place + 1)
    return 0
