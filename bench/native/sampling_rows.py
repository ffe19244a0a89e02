"""How each row of a step's logits becomes a token, as the host lays it out.

What a request asks is set down once, when it begins, in columns over the rows of per-request state. A step gathers its
rows of them and carries only what some row asks for; rows that ask for the same filters are drawn together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.sessions import Sampling

_LEAST_TEMPERATURE = 1e-5
"""Below it logits that differ at all are so far apart that drawing is taking the likeliest, and may overflow."""
_LARGEST = int(np.iinfo(np.int64).max)
"""Of the integers a column holds."""
_GREEDY = -1
_TOP_K, _TOP_P, _MIN_P = 1, 2, 4

_COLUMNS = np.dtype(
    [
        ("temperature", np.float32),
        ("seed", np.int64),
        ("top_k", np.int64),
        ("top_p", np.float32),
        ("min_p", np.float32),
        ("filters", np.int64),  # a sum of the flags above, or greedy
        ("penalty", np.float32),
        ("biased", np.bool_),
        ("ends_from", np.int64),
    ]
)


@dataclass(frozen=True, slots=True)
class DrawnRows:
    """Rows of one step that are drawn with the same filters; a filter that they do not ask for is None."""

    where: NDArray[np.int64] | None
    """Which rows of the logits, ascending; None is all of them."""
    temperatures: NDArray[np.float32]
    top_k: NDArray[np.int64] | None
    top_p: NDArray[np.float32] | None
    min_p: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class PenalisedRows:
    """Rows of one step whose tokens are less likely where the request has them already."""

    where: NDArray[np.int64]
    """Which rows of the logits."""
    rows: NDArray[np.int64]
    """Their requests' rows of per-request state."""
    penalties: NDArray[np.float32]
    begun: tuple[tuple[int, NDArray[np.int64]], ...]
    """Requests that are new to their row, and the tokens they have."""
    replaced: tuple[tuple[int, NDArray[np.int64], int], ...] = ()
    """Requests that were given another token than was chosen: their rows, what they do not have, and what they do."""


@dataclass(frozen=True, slots=True)
class BiasedLogits:
    """Logits of one step that something is added to, by row and token."""

    where: NDArray[np.int64]
    tokens: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SamplingRows:
    """How each of the R rows of a step's logits becomes a token."""

    seeds: NDArray[np.int64]
    positions: NDArray[np.int64]
    """How many tokens of its request come before the one that a row gives."""
    drawn: tuple[DrawnRows, ...]
    """The other rows are greedy."""
    penalised: PenalisedRows | None
    biased: BiasedLogits | None


class SamplingColumns:
    """What the requests that run ask for, one row each."""

    def __init__(self, rows: int, eos_ids: Sequence[int] = ()) -> None:
        self._columns = np.zeros(rows, _COLUMNS)
        self._no_end = tuple((token_id, -math.inf) for token_id in eos_ids)
        self._bias: dict[int, tuple[tuple[int, float], ...]] = {}
        self._begun: dict[int, NDArray[np.int64]] = {}
        self._replaced: list[tuple[int, NDArray[np.int64], int]] = []

    def begin(self, row: int, sampling: Sampling, token_ids: Sequence[int], ends_from: int = 0) -> None:
        """Give `row` to a request that starts, or starts again, with `token_ids`: its prompt and what it has said.

        So many tokens of both as `ends_from` come before the first that may be EOS.
        """
        filters = _TOP_K * (sampling.top_k is not None) + _TOP_P * (sampling.top_p < 1) + _MIN_P * (sampling.min_p > 0)
        self._columns[row] = (
            sampling.temperature,
            sampling.seed,
            min(sampling.top_k or 0, _LARGEST),
            sampling.top_p,
            sampling.min_p,
            filters if sampling.temperature >= _LEAST_TEMPERATURE else _GREEDY,
            sampling.repetition_penalty,
            bool(sampling.logit_bias),
            ends_from if self._no_end else 0,
        )
        self._bias[row] = sampling.logit_bias
        self._begun.pop(row, None)
        self._replaced = [one for one in self._replaced if one[0] != row]
        if sampling.repetition_penalty != 1:
            self._begun[row] = np.array(token_ids, dtype=np.int64)

    def replace(self, row: int, chosen: Sequence[int], given: int, token_ids: Sequence[int]) -> None:
        """The request at `row` was given `given` and not the tokens `chosen` for it; it has `token_ids` by now."""
        if self._columns[row]["penalty"] != 1:
            forgotten = np.array(sorted({*chosen} - {given, *token_ids}), dtype=np.int64)
            self._replaced.append((row, forgotten, given))

    def gather(self, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> SamplingRows:
        """The step whose logits belong, row by row, to the requests at `rows`.

        rows, positions [R]. A row may occur more than once: a step that verifies drafts has several for one request.
        """
        columns = self._columns[rows]
        return SamplingRows(
            seeds=columns["seed"].copy(),
            positions=positions,
            drawn=_drawn(columns),
            penalised=self._penalised(columns, rows),
            biased=self._biased(columns, rows, positions),
        )

    def _penalised(self, columns: NDArray[np.void], rows: NDArray[np.int64]) -> PenalisedRows | None:
        where = np.flatnonzero(columns["penalty"] != 1)
        if not len(where):
            return None
        begun = tuple((row, self._begun.pop(row)) for row in set(rows[where].tolist()) & self._begun.keys())
        replaced, self._replaced = tuple(self._replaced), []
        return PenalisedRows(where, rows[where], columns["penalty"][where], begun, replaced)

    def _biased(
        self, columns: NDArray[np.void], rows: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> BiasedLogits | None:
        goes_on = positions < columns["ends_from"]
        where = np.flatnonzero(columns["biased"] | goes_on)
        if not len(where):
            return None
        chosen = zip(rows[where].tolist(), goes_on[where].tolist(), strict=True)
        biases = [self._bias[row] + (self._no_end if on else ()) for row, on in chosen]
        tokens, values = zip(*(pair for bias in biases for pair in bias), strict=True)
        counts = [len(bias) for bias in biases]
        return BiasedLogits(np.repeat(where, counts), np.array(tokens), np.array(values, dtype=np.float32))


def _drawn(columns: NDArray[np.void]) -> tuple[DrawnRows, ...]:
    kinds = columns["filters"]
    asked = [int(kind) for kind in np.unique(kinds)]
    if len(asked) == 1 and asked[0] != _GREEDY:
        return (_drawn_alike(None, asked[0], columns),)
    groups = ((kind, np.flatnonzero(kinds == kind)) for kind in asked if kind != _GREEDY)
    return tuple(_drawn_alike(where, kind, columns[where]) for kind, where in groups)


def _drawn_alike(where: NDArray[np.int64] | None, kind: int, columns: NDArray[np.void]) -> DrawnRows:
    return DrawnRows(
        where=where,
        temperatures=columns["temperature"].copy(),
        top_k=columns["top_k"].copy() if kind & _TOP_K else None,
        top_p=columns["top_p"].copy() if kind & _TOP_P else None,
        min_p=columns["min_p"].copy() if kind & _MIN_P else None,
    )
