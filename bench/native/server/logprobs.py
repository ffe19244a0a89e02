"""Log probabilities as the two APIs tell them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from bench.core.records import TokenLogprob
from bench.native.server.detokenizer import Vocabulary


class LogprobsForm(Protocol):
    """Of one choice, its tokens in their order."""

    def told(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]: ...


LogprobsForms = Callable[[Vocabulary, int], LogprobsForm]
"""Makes one; the number is how many of the most likely tokens are told beside the chosen one."""


class CompletionLogprobs:
    """Lists over the tokens; `text_offset` counts the characters that the tokens before read, each alone."""

    def __init__(self, vocabulary: Vocabulary, most: int) -> None:
        self._vocabulary = vocabulary
        self._most = most
        self._offset = 0

    def told(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        texts = [_text(self._vocabulary, one.token) for one in tokens]
        offsets = []
        for text in texts:
            offsets.append(self._offset)
            self._offset += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [one.logprob for one in tokens],
            "top_logprobs": [self._top(one) for one in tokens],
            "text_offset": offsets,
        }

    def _top(self, one: TokenLogprob) -> dict[str, float]:
        told = (*one.top[: self._most], (one.token, one.logprob))
        return {_text(self._vocabulary, token): logprob for token, logprob in told}


class ChatLogprobs:
    """An object for each token, those of the thinking and its marks too."""

    def __init__(self, vocabulary: Vocabulary, most: int) -> None:
        self._vocabulary = vocabulary
        self._most = most

    def told(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        return {"content": [self._token(one) for one in tokens]}

    def _token(self, one: TokenLogprob) -> dict[str, Any]:
        top = [self._likely(token, logprob) for token, logprob in one.top[: self._most]]
        return {**self._likely(one.token, one.logprob), "top_logprobs": top}

    def _likely(self, token: int | str, logprob: float) -> dict[str, Any]:
        read = _bytes(self._vocabulary, token)
        return {"token": read.decode(errors="replace"), "logprob": logprob, "bytes": list(read)}


def _bytes(vocabulary: Vocabulary, token: int | str) -> bytes:
    return token.encode() if isinstance(token, str) else vocabulary.bytes_of(token)


def _text(vocabulary: Vocabulary, token: int | str) -> str:
    return _bytes(vocabulary, token).decode(errors="replace")
