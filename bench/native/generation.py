"""One request while it is generated: its tokens, and which of them are thinking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import InputError
from bench.core.records import TokenKind
from bench.native.failures import Failure
from bench.native.json_file import read_json_object
from bench.native.messages import Submit
from bench.native.request import Request


@dataclass(frozen=True, slots=True)
class ThinkTags:
    """Token ids of `<think>` and `</think>`; None where the tokenizer has no such token."""

    opening: int | None = None
    closing: int | None = None

    @staticmethod
    def from_folder(folder: Path) -> ThinkTags:
        """The tags among the added tokens of `tokenizer.json`, none where there is no such file.

        Raises InputError for a file that is not a tokenizer.
        """
        path = folder / "tokenizer.json"
        if not path.exists():
            return ThinkTags()
        added = read_json_object(path).get("added_tokens", [])
        try:
            ids = {str(token["content"]): int(token["id"]) for token in added}
        except (KeyError, TypeError, ValueError):
            raise InputError(
                "'added_tokens' is malformed", where=path, allowed="a list of objects with `id` and `content`"
            ) from None
        return ThinkTags(ids.get("<think>"), ids.get("</think>"))

    def left_open_by(self, prompt_ids: Sequence[int]) -> bool:
        """Whether a prompt ends in the opening tag, alone or with the line break that chat templates put after it."""
        tags = [token_id for token_id in prompt_ids[-2:] if token_id in (self.opening, self.closing)]
        return tags[-1:] == [self.opening]


class Generation:
    """What the engine keeps of a request beside what the scheduler counts. It takes over the prompt's array."""

    def __init__(self, submit: Submit, tags: ThinkTags) -> None:
        self.request = Request(submit.id, prompt_tokens=len(submit.prompt_ids), max_tokens=submit.max_tokens)
        self.sampling = submit.sampling
        self.ignore_eos = submit.ignore_eos
        self._thinking_tokens = submit.thinking_tokens
        self._tags = tags
        self._thinking = tags.left_open_by(submit.prompt_ids)
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

    def append(self, token_id: int) -> TokenKind:
        """Take the next token of the output and say what it is.

        When EOS is ignored the model's tags mean nothing and the declared count decides; otherwise everything from the
        opening tag to the closing one, both included, is thinking.
        """
        self.token_ids.append(token_id)
        if self.ignore_eos:
            return "thinking" if self.output_tokens <= self._thinking_tokens else "answer"
        self._thinking = self._thinking or token_id == self._tags.opening
        kind: TokenKind = "thinking" if self._thinking else "answer"
        if token_id == self._tags.closing:
            self._thinking = False
        return kind


def unknown_token(submit: Submit, vocabulary: int) -> Failure | None:
    """Why a request that names a token outside the vocabulary cannot be served; None where it names none."""
    # Such an id would be an error of the whole step, and on a GPU the end of the process.
    biased = [token_id for token_id, _ in submit.sampling.logit_bias]
    for token_id in (min(submit.prompt_ids, default=0), max(submit.prompt_ids, default=0), max(biased, default=0)):
        if not 0 <= token_id < vocabulary:
            return Failure("unknown_token", f"token {token_id} in a vocabulary of {vocabulary}")
    return None
