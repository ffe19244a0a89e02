"""Log probabilities as the two APIs tell them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from bench.core.records import TokenLogprob
from bench.native.server.detokenizer import Vocabulary


class TokenNames:
    """What tokens are called: by their texts, or by their numbers as vLLM writes them where it is asked to."""

    def __init__(self, vocabulary: Vocabulary, *, as_ids: bool) -> None:
        self._vocabulary = vocabulary
        self._as_ids = as_ids

    def name(self, token: int | str) -> str:
        return f"token_id:{token}" if self._as_ids else self.text(token)

    def text(self, token: int | str) -> str:
        return self.bytes(token).decode(errors="replace")

    def bytes(self, token: int | str) -> bytes:
        return token.encode() if isinstance(token, str) else self._vocabulary.bytes_of(token)


class LogprobsForm(Protocol):
    """Of one choice, its tokens in their order."""

    def told(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]: ...


LogprobsForms = Callable[[TokenNames, int], LogprobsForm]
"""Makes one; the number is how many of the most likely tokens are told beside the chosen one."""


class CompletionLogprobs:
    """Lists over the tokens; `text_offset` counts the characters that the tokens before read, each alone."""

    def __init__(self, names: TokenNames, most: int) -> None:
        self._names = names
        self._most = most
        self._offset = 0

    def told(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        offsets = []
        for one in tokens:
            offsets.append(self._offset)
            self._offset += len(self._names.text(one.token))
        return {
            "tokens": [self._names.name(one.token) for one in tokens],
            "token_logprobs": [one.logprob for one in tokens],
            "top_logprobs": [self._top(one) for one in tokens],
            "text_offset": offsets,
        }

    def _top(self, one: TokenLogprob) -> dict[str, float]:
        told = (*one.top[: self._most], (one.token, one.logprob))
        return {self._names.name(token): logprob for token, logprob in told}


class ChatLogprobs:
    """An object for each token, those of the thinking and its marks too."""

    def __init__(self, names: TokenNames, most: int) -> None:
        self._names = names
        self._most = most

    def told(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        return {"content": [self._token(one) for one in tokens]}

    def _token(self, one: TokenLogprob) -> dict[str, Any]:
        top = [self._likely(token, logprob) for token, logprob in one.top[: self._most]]
        return {**self._likely(one.token, one.logprob), "top_logprobs": top}

    def _likely(self, token: int | str, logprob: float) -> dict[str, Any]:
        return {"token": self._names.name(token), "logprob": logprob, "bytes": list(self._names.bytes(token))}
