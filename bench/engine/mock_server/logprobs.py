"""Log probabilities of tokens that were never drawn: the same for the same token, and halved from each to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def told_logprobs(words: Sequence[str], most: int, *, chat: bool) -> dict[str, Any]:
    """Of the tokens `words`, with the `most` likely at each place, the token itself before the others."""
    likely = [[(word + "'" * place, -(place + 1) * math.log(2)) for place in range(most)] for word in words]
    chosen = -math.log(2)
    if not chat:
        tops = [dict(place) for place in likely] if most else None
        return {"tokens": list(words), "token_logprobs": [chosen] * len(words), "top_logprobs": tops}
    content = [
        {**_told(word, chosen), "top_logprobs": [_told(*one) for one in place]}
        for word, place in zip(words, likely, strict=True)
    ]
    return {"content": content}


def _told(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
