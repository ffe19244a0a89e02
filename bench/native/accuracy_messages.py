"""What the driver's process and that of a reference say to each other: tuples of plain values, one per message."""

from __future__ import annotations

from typing import NamedTuple

from bench.core.work import AccuracyFigures


class MakeReference(NamedTuple):
    """The first message to the process."""

    model_folder: str


class Compare(NamedTuple):
    """The second and last."""

    told: list[list[tuple[tuple[int, float], ...]]]
    """As in `accuracy_likely.compare_likely`."""


Question = MakeReference | Compare


class Probes(NamedTuple):
    """The reference is there."""

    token_ids: tuple[tuple[int, ...], ...]


class NoReference(NamedTuple):
    """Why there is none."""

    line: str


Reply = Probes | NoReference | AccuracyFigures
