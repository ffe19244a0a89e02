"""What every client asks: one list of prompts, written in the form that each of them reads.

Prompts are drawn in words of the model's tokenizer, so that their length in tokens is exact, and every client is given
the same words: nothing may keep them from an earlier client, so servers run without a prefix cache.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench.core.sessions import Segment, Turn
from bench.workload.prompts import PromptSynthesizer

_SALT = "crosscheck"


@dataclass(frozen=True)
class Request:
    prompt: str
    answer: str
    """Nobody is told it; only its length is, for ShareGPT's form has no other place for that."""
    prompt_tokens: int
    output_tokens: int


def draw_requests(model: Path, count: int, prompt_tokens: int, output_tokens: int) -> list[Request]:
    """`count` requests of these lengths under the tokenizer in the folder `model`, the same in every run.

    Prompts are counted without a chat's template. Raises InputError where no text has a known number of tokens.
    """
    synthesizer = PromptSynthesizer(model, _SALT, framing=False, form="text")

    def words(key: str, tokens: int) -> str:
        return synthesizer.realise(Turn(0, (Segment(key, tokens),), 1)).messages[0].text

    return [
        Request(
            words(f"prompt {number}", prompt_tokens),
            words(f"answer {number}", output_tokens),
            prompt_tokens,
            output_tokens,
        )
        for number in range(count)
    ]


def write_single_turns(requests: list[Request], path: Path) -> None:
    """AIPerf's `single_turn`, which `bench run` reads as a trace: both are given this file."""
    lines = [json.dumps({"text": request.prompt, "output_length": request.output_tokens}) for request in requests]
    path.write_text("\n".join(lines) + "\n")


def write_sharegpt(requests: list[Request], path: Path) -> None:
    """ShareGPT's form, of which `vllm bench` takes the first message as the prompt and the second's length."""
    told = [
        {
            "id": str(number),
            "conversations": [{"from": "human", "value": request.prompt}, {"from": "gpt", "value": request.answer}],
        }
        for number, request in enumerate(requests)
    ]
    path.write_text(json.dumps(told))
