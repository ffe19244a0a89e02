"""A generation in vLLM's terms, and what it tells of likely tokens in ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.core.records import TokenLogprob
from bench.engine.vllm_process.messages import Submit


def sampling_options(submit: Submit) -> dict[str, Any]:
    """What vLLM's SamplingParams are made from, beside how they answer."""
    sampling = submit.sampling
    return {
        "temperature": sampling.temperature,
        # Drawing nothing needs no seed, and vLLM is slower with one.
        "seed": sampling.seed if sampling.temperature > 0 else None,
        "top_k": sampling.top_k or 0,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "logit_bias": dict(sampling.logit_bias) or None,
        "max_tokens": submit.max_tokens,
        "ignore_eos": submit.ignore_eos,
        "logprobs": submit.logprobs or None,
        "thinking_token_budget": None if submit.ignore_eos else submit.thinking_budget,
    }


def token_logprobs(
    token_ids: Sequence[int], places: Sequence[Mapping[int, Any]], most: int
) -> tuple[TokenLogprob, ...]:
    """Of each token, from vLLM's mapping of its place, which holds the chosen token and the `most` likely ones."""
    return tuple(
        TokenLogprob(
            token_id,
            place[token_id].logprob,
            tuple(sorted(((id, one.logprob) for id, one in place.items()), key=_unlikeliness)[:most]),
        )
        for token_id, place in zip(token_ids, places, strict=True)
    )


def _unlikeliness(told: tuple[int, float]) -> float:
    return -told[1]


def misfit(submit: Submit, vocabulary: int, max_context_tokens: int) -> str | None:
    """Why vLLM cannot answer, where it would not say so: by kind and figures, as `Finish.error`.

    It ends an answer early where the context is full, and on a token that is none its process dies.
    """
    if not submit.prompt_ids or submit.max_tokens < 1:
        return f"empty_request: {len(submit.prompt_ids)} tokens to read and {submit.max_tokens} to say"
    needed = len(submit.prompt_ids) + submit.max_tokens
    if needed > max_context_tokens:
        return f"context_exceeded: {needed} tokens where the context holds {max_context_tokens}"
    biased = [token_id for token_id, _ in submit.sampling.logit_bias]
    for token_id in (min(submit.prompt_ids), max(submit.prompt_ids), min(biased, default=0), max(biased, default=0)):
        if not 0 <= token_id < vocabulary:
            return f"unknown_token: token {token_id} in a vocabulary of {vocabulary}"
    return None
