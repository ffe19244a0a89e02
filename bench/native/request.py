"""A request as the scheduler and its policies count it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(slots=True, eq=False)
class Request:
    """`computed` tokens chase a `total` that grows with each token generated."""

    id: int
    prompt_tokens: int
    max_tokens: int
    total: int = field(init=False)
    """Prompt and generated tokens. The newest is promised by the step that computes the one before it: it has not been
    fed to the model, and its value may still be on its way."""
    computed: int = 0
    """Tokens whose keys and values lie in the cache, or will when the steps launched so far have run."""
    prefill_tokens: int = field(init=False)
    """Tokens it has to compute before it decodes: its prompt, and after a preemption all it had by then."""
    block_table: array[int] = field(default_factory=lambda: array("i"))
    """Blocks of the KV cache it holds, in order."""
    row: int = -1
    """Its row in the device's state of each request, below the most that run; -1 while it does not run."""
    drafts: int = 0
    """Tokens drafted for its next step; it asks for so many more when it decodes."""
    block_hashes: list[bytes] = field(default_factory=list)
    """Hashes of its leading full blocks of known tokens (`prefix_cache.extend_hashes`); without any it shares none."""
    registered_blocks: int = 0
    """Leading blocks of its table that the prefix cache knows."""
    cached_tokens: int = 0
    """Prompt tokens the prefix cache had when it first started."""
    recomputed_cached_tokens: int = 0
    """Tokens the prefix cache had when it started again after a preemption, summed over preemptions."""
    preemptions: int = 0

    def __post_init__(self) -> None:
        self.total = self.prefill_tokens = self.prompt_tokens

    @property
    def pending(self) -> int:
        return self.total - self.computed

    @property
    def decoding(self) -> bool:
        return self.computed >= self.prefill_tokens

    @property
    def generated(self) -> int:
        return self.total - self.prompt_tokens

    @property
    def peak_cached_tokens(self) -> int:
        """The most tokens it can come to hold in the cache: the last one generated is never fed back."""
        return self.prompt_tokens + self.max_tokens - 1


class Slice(NamedTuple):
    """The next `tokens` tokens of `request`, of which the last `drafts` are drafted."""

    request: Request
    tokens: int
    drafts: int = 0
