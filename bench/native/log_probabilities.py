"""How likely the tokens of an output were, for the requests that ask: a step carries it back beside its tokens.

log p(v) = z(v) − log Σ_u exp z(u), where z are a row's logits in float32 after bias and penalties and before
temperature and filters: what the model says, however the token was then drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.records import LEAST_LOGPROB, TokenLogprob
from bench.native.device import on_device


@dataclass(frozen=True, slots=True)
class AskedRows:
    """A rows of a step's logits whose log probabilities were asked for."""

    where: NDArray[np.int64]
    """[A]: which rows of the logits, ascending."""
    request: NDArray[np.int64]
    """[A]: which of the step's requests each belongs to."""
    place: NDArray[np.int64]
    """[A]: which of the tokens that its request gets in this step each gives."""
    most: int
    """The most likely tokens that any of them tells."""

    @staticmethod
    def of(wanted: Sequence[int], rows: Sequence[int]) -> AskedRows:
        """wanted: how many likely tokens each request is to be told, and some request some.

        rows: how many rows of logits each has.
        """
        counts = np.array(rows, dtype=np.int64)
        request = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(len(request)) - (np.cumsum(counts) - counts)[request]
        where = np.flatnonzero(np.array(wanted)[request])
        return AskedRows(where, request[where], place[where], max(wanted))


class Likely(NamedTuple):
    """What was likely where one token was chosen."""

    known: dict[int, float]
    """Of the token that was chosen, and of those that may be imposed in its place."""
    top: tuple[tuple[int, float], ...]

    def of(self, token_id: int, most: int) -> TokenLogprob:
        """What a request is told that was given `token_id` and asked for the `most` likely."""
        return TokenLogprob(token_id, self.known[token_id], self.top[:most])


class LogProbabilities:
    """`tell` runs on the device in the order of the steps; `read` takes it up on the host."""

    def __init__(self, device: torch.device, imposable: Sequence[int]) -> None:
        """`imposable`: tokens that a request may be given instead of the one that was chosen for it."""
        self._device = device
        self._imposable = tuple(imposable)

    @torch.inference_mode()
    def tell(self, logits: Tensor, tokens: Tensor, asked: AskedRows) -> tuple[Tensor, Tensor]:
        """Of each asked row, log probabilities [A, I + 1 + K] float32 and token ids [A, K] int64.

        The K most likely come last, behind the I imposable tokens and the chosen one. Where they were not finite none
        is below `LEAST_LOGPROB` but in rows whose logits are no numbers, which give no token.

        logits [L, V], adjusted; tokens [R, most rows of a request]: what each request gets, −1 where it gets none.
        """
        request, place = on_device(asked.request, self._device), on_device(asked.place, self._device)
        rows = logits[on_device(asked.where, self._device)].log_softmax(-1).clamp_(min=LEAST_LOGPROB)
        top, ids = rows.topk(min(asked.most, rows.shape[-1]))
        imposable = on_device(np.array(self._imposable, dtype=np.int64), self._device)
        chosen = tokens[request, place].clamp(min=0)[:, None]
        return torch.cat((rows[:, imposable], rows.gather(-1, chosen), top), dim=-1), ids

    def read(self, told: Sequence[Tensor], tokens: Sequence[Sequence[int]], asked: AskedRows) -> list[list[Likely]]:
        """Of each request, what was likely at each token that it gets; nothing for those that did not ask.

        told: what `tell` gave, on the host; tokens: as given to it.
        """
        values, ids = (tensor.tolist() for tensor in told)
        likely: list[list[Likely]] = [[] for _ in tokens]
        behind = len(self._imposable) + 1
        for request, place, row, top in zip(asked.request.tolist(), asked.place.tolist(), values, ids, strict=True):
            chosen = tokens[request][place]
            if chosen >= 0:
                known = dict(zip((*self._imposable, chosen), row, strict=False))
                likely[request].append(Likely(known, tuple(zip(top, row[behind:], strict=True))))
        return likely
