"""A model that would end is kept from it until an output has as many tokens as were asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"overlap": True},
        {"speculation": {"kind": "ngram", "tokens": 3, "match_tokens": 1}},
    ],
    ids=["plain", "overlap", "drafts"],
)
def test_no_end_comes_before_the_fewest_tokens(
    client: Any, small_model: Any, tmp_path: Path, axes: dict[str, Any]
) -> None:
    prompt = client.prompt(21)
    eos = small_model.greedy(prompt, 1)[0]
    engine = client.engine(small_model.ending(tmp_path / "ending", eos=eos).folder, **axes)
    client.run(engine.start())
    free = replace(client.request(prompt, 40), ignore_eos=False)
    others = [replace(free, min_tokens=fewest) for fewest in (1, 7, 40)]
    pinned = replace(client.request(prompt, 12), min_tokens=12)
    at_once, *kept, whole = client.run(client.answer(engine, free, *others, pinned))
    client.run(engine.stop())
    assert (at_once.token_ids, at_once.ended.reason) == ((eos,), "stop")
    for fewest, sink in zip((1, 7, 40), kept, strict=True):
        assert eos not in sink.token_ids[:fewest]
        assert len(sink.token_ids) > fewest or sink.ended.reason == "length"
    # Where EOS does not end an output nothing keeps it out.
    assert whole.token_ids == small_model.greedy(prompt, 12)
