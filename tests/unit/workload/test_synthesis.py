"""Synthesis draws what the profile says: every field's distribution, each by itself, and no altered entry unseen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from profile_fields import SHIPPED, Shipped, at
from profile_fit import BOUND, misfit_of_table, rewritten
from pydantic import BaseModel

from bench.core.sessions import Session
from bench.workload.profile import Quantiles, load_profile
from bench.workload.quantiles import QuantileTable

ALTERED = 2.0
"""By how much a single entry of a table is altered to see whether that is seen."""
_RANKS = np.sort(np.random.default_rng(11).random(200_000))


def ids(shipped: Shipped) -> str:
    return shipped.name


def drawn(shipped: Shipped, tmp_path: Path, **fields: Any) -> tuple[Session, ...]:
    return shipped.draw(rewritten(tmp_path, shipped.name, **{**dict(shipped.altered), **fields}))


@pytest.mark.parametrize("shipped", SHIPPED, ids=ids)
def test_sessions_follow_their_profile_in_every_field(shipped: Shipped, tmp_path: Path) -> None:
    misfits = shipped.misfits(drawn(shipped, tmp_path))
    assert {name: error for name, error in misfits.items() if error > BOUND} == {}


@pytest.mark.parametrize("shipped", SHIPPED, ids=ids)
def test_sessions_of_an_altered_profile_do_not_follow_the_one_that_ships(shipped: Shipped, tmp_path: Path) -> None:
    """All at once: the upper half of every table's entries by half as much again, and every share doubled."""
    profile = load_profile(shipped.name, shipped.kind)
    altered: dict[str, Any] = {place: min(1.0, 2 * share) for place, share in shipped.shares(profile).items()}
    for place, quantiles in tables(profile):
        middle = sorted(quantiles.quantiles)[len(quantiles.quantiles) // 2]
        altered[f"{place}.quantiles"] = {
            rank: value * 1.5 if rank >= middle and place != "thinking_share" else value
            for rank, value in quantiles.quantiles.items()
        }
    misfits = shipped.misfits(drawn(shipped, tmp_path, **altered))
    assert {place: error for place, error in misfits.items() if error < BOUND} == {}


def tables(section: BaseModel, place: str = "") -> Iterator[tuple[str, Quantiles]]:
    """Every table of a profile by its place."""
    if isinstance(section, Quantiles):
        yield place, section
        return
    for name in type(section).model_fields:
        value = getattr(section, name)
        inner: Mapping[str, Any] = value if isinstance(value, dict) else {"": value}
        for key, entry in inner.items():
            if isinstance(entry, BaseModel):
                yield from tables(entry, ".".join(filter(None, (place, name, key))))


EVERY_TABLE = [
    pytest.param(quantiles, id=f"{shipped.name}:{place}")
    for shipped in SHIPPED
    for place, quantiles in tables(load_profile(shipped.name, shipped.kind))
]


@pytest.mark.parametrize("quantiles", EVERY_TABLE)
def test_any_single_altered_entry_is_refused_or_seen(quantiles: Quantiles) -> None:
    """In draws of the table alone, at ranks that all alterations share, so that hundreds of them take seconds."""
    counts = all(value == round(value) for value in quantiles.quantiles.values())
    assert misfit_of_table(rounded(quantiles.table, counts), quantiles.table, counts=counts) < BOUND
    for rank, value in quantiles.quantiles.items():
        try:
            altered = QuantileTable.of({**quantiles.quantiles, rank: value * ALTERED}, quantiles.interpolation)
        except ValueError:
            continue  # An entry above the next one is no distribution, and load_profile says so
        assert misfit_of_table(rounded(altered, counts), quantiles.table, counts=counts) > BOUND, (rank, value)


def rounded(table: QuantileTable, counts: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = table.at(_RANKS)
    return np.maximum(np.floor(values + 0.5), 1) if counts else values


@pytest.mark.parametrize("shipped", SHIPPED, ids=ids)
def test_fields_are_independent(shipped: Shipped, tmp_path: Path) -> None:
    """Rank correlation of every two fields that each request has one of."""
    sessions = drawn(shipped, tmp_path)
    fields = [np.asarray(of(sessions)) for of in shipped.counts.values()]
    fields = [samples for samples in fields if len(samples) == len(sessions)]
    for number, one in enumerate(fields):
        for other in fields[:number]:
            correlation = np.corrcoef(*(samples.argsort().argsort() for samples in (one, other)))[0, 1]
            assert abs(correlation) < BOUND / np.sqrt(len(sessions))


def test_thinking_is_its_share_of_the_output_and_leaves_an_answer(tmp_path: Path) -> None:
    reasoning = next(shipped for shipped in SHIPPED if shipped.name == "reasoning")
    turns = [session.turns[0] for session in drawn(reasoning, tmp_path)]
    table = at(load_profile("reasoning", reasoning.kind), "thinking_share").table
    long = [turn for turn in turns if turn.output_tokens > 500]  # Where rounding to whole tokens does not show
    assert misfit_of_table([t.thinking_tokens / t.output_tokens for t in long], table, counts=False) < BOUND
    assert all(turn.thinking_tokens < turn.output_tokens for turn in turns)


def test_thinking_share_keeps_its_two_peaks(tmp_path: Path) -> None:
    reasoning = next(shipped for shipped in SHIPPED if shipped.name == "reasoning")
    turns = [session.turns[0] for session in drawn(reasoning, tmp_path)]
    share, _ = np.histogram([t.thinking_tokens / t.output_tokens for t in turns], bins=np.arange(0, 1.05, 0.1))
    low_peak, valley, high_peak = share[3], share[5], share[8]
    assert low_peak > 1.5 * valley
    assert high_peak > 2 * valley
