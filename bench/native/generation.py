"""One request while it is generated: its tokens, and which of them are thinking."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from bench.core.records import TokenKind
from bench.native.failures import Failure
from bench.native.messages import Submit
from bench.native.request import Request
from bench.native.thinking import Harmony, Thinking, ThinkTags


class Generation:
    """What the engine keeps of a request beside what the scheduler counts. It takes over the prompt's array."""

    def __init__(self, submit: Submit, marks: ThinkTags | Harmony) -> None:
        self.request = Request(submit.id, prompt_tokens=len(submit.prompt_ids), max_tokens=submit.max_tokens)
        self.sampling = submit.sampling
        self.ignore_eos = submit.ignore_eos
        self.logprobs = submit.logprobs
        self.ends_from = 0 if submit.ignore_eos else self.request.prompt_tokens + submit.min_tokens
        """How many tokens, the prompt's too, come before the first that may be EOS."""
        self._declared_thinking_tokens = submit.thinking_tokens
        self._budget = None if submit.ignore_eos else submit.thinking_budget
        self._thinking = marks.begin(submit.prompt_ids)
        self._thought_tokens = 0
        self._placed: tuple[int, int] | None = None
        self.token_ids = submit.prompt_ids
        """The prompt and all that is known of the output."""

    @property
    def output_tokens(self) -> int:
        """Tokens of the output that are known."""
        return len(self.token_ids) - self.request.prompt_tokens

    def placed_anew(self) -> bool:
        """Whether the request has started, or started again after a preemption, since this was last asked."""
        placed = (self.request.row, self.request.preemptions)
        anew, self._placed = placed != self._placed, placed
        return anew

    def fed(self, tokens: int) -> array[int]:
        """The `tokens` tokens from the first that is not computed on.

        The last of them may be on its way still: where nothing is imposed it is −1 − row, as in `HostBatch`.
        """
        start = self.request.computed
        known = self.token_ids[start : start + tokens]
        if len(known) < tokens:
            imposed = self.imposed()
            known.append(-1 - self.request.row if imposed is None else imposed)
        return known

    def append(self, token_id: int) -> TokenKind:
        """Take the next token of the output and say what it is.

        When EOS is ignored the model's marks mean nothing and the declared count decides; otherwise they do.
        """
        self.token_ids.append(token_id)
        if self.ignore_eos:
            return "thinking" if self.output_tokens <= self._declared_thinking_tokens else "answer"
        kind = self._thinking.read(token_id)
        self._thought_tokens += kind == "thinking"
        return kind

    def imposed(self) -> int | None:
        """The next token of the output, where the thinking budget leaves no other; None where the model chooses.

        It follows from the tokens that are known, so the next step may be fed with it before the step that is to make
        it has run.
        """
        return None if self._budget is None else _imposed(self._thinking, self._budget - self._thought_tokens)

    def kept(self, said: Sequence[int]) -> list[int]:
        """What the output goes on with when the model says `said`: up to a token that is imposed, and this one."""
        if self._budget is None:
            return list(said)
        thinking, left = self._thinking.copy(), self._budget - self._thought_tokens
        kept = []
        for token_id in said:
            imposed = _imposed(thinking, left)
            kept.append(token_id if imposed is None else imposed)
            if kept[-1] != token_id:
                break
            left -= thinking.read(token_id) == "thinking"
        return kept


def _imposed(thinking: Thinking, left: int) -> int | None:
    """The next token where `left` tokens of the budget are just enough to end the thinking."""
    way_out = thinking.way_out()
    if way_out is None:
        return None
    token_id, tokens = way_out
    return token_id if left <= tokens else None


def unknown_token(submit: Submit, vocabulary: int) -> Failure | None:
    """Why a request that names a token outside the vocabulary cannot be served; None where it names none."""
    # Such an id would be an error of the whole step, and on a GPU the end of the process.
    biased = [token_id for token_id, _ in submit.sampling.logit_bias]
    for token_id in (min(submit.prompt_ids, default=0), max(submit.prompt_ids, default=0), max(biased, default=0)):
        if not 0 <= token_id < vocabulary:
            return Failure("unknown_token", f"token {token_id} in a vocabulary of {vocabulary}")
    return None
