"""Whether two names are of one model: the one that was asked for, and the one that a server lists or answers with.

Servers answer by other names than they are asked by: `gpt-4o` is answered by `gpt-4o-2024-08-06`, and a model that was
loaded from a folder by that folder. A date is no other model; four digits at the end may be one, as `deepseek-v3-0324`
is, and count as a version only where the server does not list that name beside the one that was asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import Literal

_DATE = re.compile(r"[-@:]20\d\d-?\d\d-?\d\d")
_VERSION = re.compile(r"[-@:]\d[\d.-]{2,}")

_MOST_NAMES = 16

Judgement = Literal["same", "unknown", "other"]


class AnsweredModels:
    """By which names a server answered that is asked for one model."""

    def __init__(self, asked: str, listed: Collection[str]) -> None:
        """`listed` are all names that the server lists."""
        self.asked = asked
        self.answers: Counter[str] = Counter()
        """How often each name was told; those after the first sixteen are counted as `others`."""
        self._listed = frozenset(listed)

    def add(self, name: str, shown: str) -> Judgement:
        """`shown` is the name as a record may show it."""
        known = shown in self.answers or len(self.answers) < _MOST_NAMES
        self.answers[shown if known else "others"] += 1
        return "same" if name == self.asked else judge(self.asked, name, self._listed)


def judge(asked: str, answered: str, listed: Collection[str]) -> Judgement:
    """What a server says that was asked for `asked`, answers as `answered`, and lists `listed`.

    `other` is a model that it lists as one of its own; `unknown` a name that may be anything.
    """
    if answered == asked or _is(answered, asked, _DATE):
        return "same"
    if answered in listed:
        return "other"
    return "same" if _is(_last(answered), _last(asked), _VERSION) else "unknown"


def is_listed(asked: str, listed: Collection[str]) -> bool:
    """Whether one of `listed` may be the model that is asked for as `asked`."""
    return any(judge(asked, name, ()) == "same" for name in listed)


def _is(name: str, asked: str, version: re.Pattern[str]) -> bool:
    """Whether `name` is `asked`, whatever their case, or a version of it."""
    name, base = name.casefold(), asked.casefold().removesuffix("-latest")
    return name == asked.casefold() or (name.startswith(base) and version.fullmatch(name, len(base)) is not None)


def _last(name: str) -> str:
    """The last part of a path."""
    return name.rstrip("/").rpartition("/")[2].removesuffix(".gguf")
