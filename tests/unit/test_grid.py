"""A spec with a grid: the combinations, their names, and what is no grid."""

from __future__ import annotations

from typing import Any

import pytest

from bench.core.errors import InputError
from bench.core.grid import expand

GRID: dict[str, Any] = {
    "engine.policy": ["static", "decode_first"],
    "engine.speculation": [None, {"kind": "ngram"}],
    "load.concurrency": [8],
}


def test_every_combination_once_with_a_name_of_its_own() -> None:
    specs = expand({"name": "agentic", "engine": {"threads": 1}, "grid": GRID}, "suite")
    assert [spec["name"] for spec in specs] == [
        "agentic.static.no_speculation.concurrency_8",
        "agentic.static.ngram.concurrency_8",
        "agentic.decode_first.no_speculation.concurrency_8",
        "agentic.decode_first.ngram.concurrency_8",
    ]
    assert specs[1]["engine"] == {"threads": 1, "policy": "static", "speculation": {"kind": "ngram"}}
    assert all(spec["load"] == {"concurrency": 8} and "grid" not in spec for spec in specs)


def test_switches_are_named_by_their_key() -> None:
    specs = expand({"name": "x", "grid": {"engine.prefix_cache": [True, False]}}, "suite")
    assert [spec["name"] for spec in specs] == ["x.prefix_cache", "x.no_prefix_cache"]


def test_an_axis_that_is_settled_elsewhere_is_dropped() -> None:
    specs = expand({"name": "x", "grid": GRID}, "suite", settled={"engine.policy", "load.concurrency"})
    assert [spec["name"] for spec in specs] == ["x.no_speculation", "x.ngram"]


def test_without_a_grid_a_spec_is_itself() -> None:
    assert expand({"name": "x"}, "suite") == [{"name": "x"}]


@pytest.mark.parametrize("grid", [None, [], {}, {"engine.policy": "static"}, {"engine.policy": []}, {"a..b": [1]}])
def test_what_is_no_grid_is_refused(grid: Any) -> None:
    with pytest.raises(InputError, match="grid"):
        expand({"name": "x", "grid": grid}, "suite")
