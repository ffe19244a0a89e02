"""One request while it is generated: its tokens, and which of them are thinking."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import InputError
from bench.core.records import TokenKind
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
        self._token_ids = submit.prompt_ids

    def pending_ids(self, tokens: int) -> array[int]:
        """The next `tokens` tokens to compute."""
        start = self.request.computed
        return self._token_ids[start : start + tokens]

    def append(self, token_id: int) -> TokenKind:
        """Take the next token of the output and say what it is.

        When EOS is ignored the model's tags mean nothing and the declared count decides; otherwise everything from the
        opening tag to the closing one, both included, is thinking.
        """
        self._token_ids.append(token_id)
        if self.ignore_eos:
            said = len(self._token_ids) - self.request.prompt_tokens
            return "thinking" if said <= self._thinking_tokens else "answer"
        self._thinking = self._thinking or token_id == self._tags.opening
        kind: TokenKind = "thinking" if self._thinking else "answer"
        if token_id == self._tags.closing:
            self._thinking = False
        return kind
