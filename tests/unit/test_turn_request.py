"""A request is the same with its body as without."""

from __future__ import annotations

from dataclasses import fields, replace

from bench.core.sessions import Message, Sampling, Turn, TurnRequest


def test_a_body_changes_nothing_else() -> None:
    request = TurnRequest(
        session_id="s",
        turn=Turn(3, (), 7),
        prompt_ids=(1, 2),
        max_tokens=5,
        ignore_eos=True,
        sampling=Sampling(seed=4),
        messages=(Message("user", "hello"),),
        logprobs=6,
        min_tokens=2,
    )
    unset = TurnRequest("", Turn(0, (), 1), (), 0, False, Sampling())
    same = [one.name for one in fields(request) if getattr(request, one.name) == getattr(unset, one.name)]
    assert same == ["body"]  # or a field that came later would not be looked at
    assert request.with_body(b"{}") == replace(request, body=b"{}")
