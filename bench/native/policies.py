"""Scheduling policies: how many tokens of which requests the next step computes.

A policy is a pure function of the requests that could start now (in order of arrival), the requests that run (in order
of admission) and the token budget of the step. It returns slices of at least one token that together fit the budget, at
most one a request and none beyond what the request has pending. A policy that grants something whenever anything is
pending, and starts requests from the front of the queue, lets every request finish: `Scheduler` sees to the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from bench.native.request import Request, Slice

Policy = Callable[[Sequence[Request], Sequence[Request], int], list[Slice]]


def decode_first(waiting: Sequence[Request], running: Sequence[Request], budget: int) -> list[Slice]:
    """Chunked prefill behind decodes: every decode gets its token, prefills share what is left, oldest first.

    A long prompt therefore never stalls the tokens of requests that already answer; it is cut into chunks of the
    budget they leave. After "Sarathi-Serve" (Agrawal et al., OSDI 2024, arXiv:2403.02310).
    """
    decodes = (request for request in running if request.decoding)
    prefills = (request for request in running if not request.decoding)
    slices: list[Slice] = []
    for request in chain(decodes, prefills, waiting):
        if budget == 0:
            break
        tokens = min(request.pending, budget)
        slices.append(Slice(request, tokens))
        budget -= tokens
    return slices
