"""What every engine's process is told and answers: lines of JSON on its standard input and output.

Standard library only: the processes run under interpreters of different environments.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

Ask = Callable[[list[list[int]], int], list[list[int]]]
"""Takes prompts, as token ids, and how many tokens each is to be answered with.

Returns for each prompt the times its tokens came at, in ns on `time.monotonic_ns`.
"""


@dataclass(frozen=True)
class Task:
    """What an engine is started for."""

    folder: str
    """Of the model: a Hugging Face folder with bfloat16 weights and no tokenizer."""
    weight_format: str
    """`dense`, or what the engine quantises to while it loads."""
    threads: int
    most_requests: int
    prompt_tokens: int
    output_tokens: int

    def argument(self) -> str:
        return json.dumps(asdict(self))


def serve(load: Callable[[Task], Ask]) -> None:
    """Load the engine for the task named on the command line, say so, and answer a line a request until input ends."""
    # Engines print as they like: that goes the way of their errors, and the replies have an output of their own.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    ask = load(Task(**json.loads(sys.argv[1])))
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        asked_ns = time.monotonic_ns()
        token_ns = ask(request["prompts"], request["tokens"])
        print(json.dumps({"asked_ns": asked_ns, "token_ns": token_ns}), file=replies, flush=True)
