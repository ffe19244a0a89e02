"""Fingerprints that somebody spoilt: compared or refused in one line, never a traceback."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleets import six_nodes, write_nodes

from bench.cli.output import plain
from bench.core.errors import InputError
from bench.fleet import read_fleet
from bench.node.fleet import compare_fleet
from bench.report.fleet import print_fleet

_SPOILT = 150
_JUNK: tuple[Any, ...] = (
    *(None, True, -1, 0, 3.5, 1e308, 10**30, "", "x", "[bold", [], {}, [1], [{}], [[1]], {"a": 1}),
    *({"missing": 3}, {"value": 1}, {"value": 1, "low": 2, "high": "q"}),
)


def test_a_spoilt_fingerprint_is_compared_or_refused_in_one_line(tmp_path: Path) -> None:
    rng = random.Random(7)
    whole = six_nodes()
    files = write_nodes(tmp_path, whole)
    refusals = []
    for _ in range(_SPOILT):
        (tmp_path / "c.json").write_text(json.dumps(spoilt(whole["c"], rng)))
        try:
            skus = plain(compare_fleet(read_fleet(files)))
            json.dumps(skus, allow_nan=False)
            print_fleet(skus)
        except InputError as refused:
            refusals.append(str(refused))
    assert 0 < len(refusals) < _SPOILT
    assert not [line for line in refusals if "\n" in line]


def spoilt(document: Any, rng: random.Random) -> Any:
    """`document` with something else, or nothing, in up to three places."""
    document = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        *parents, last = rng.choice(list(places(document)))
        inner = document
        for key in parents:
            inner = inner[key]
        if isinstance(inner, dict) and rng.random() < 0.2:
            del inner[last]
        else:
            inner[last] = copy.deepcopy(rng.choice(_JUNK))
    return document


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place below `value`."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*place, key)
        yield from places(inner, (*place, key))
