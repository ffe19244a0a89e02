"""The token with the highest score of each row, by programs that each see a part of the vocabulary.

A score and its token are one integer, the token's complement in the lowest 31 bits, so that the largest integer is the
highest score and of equal ones the lowest token. A maximum of integers is the same in whatever order it is taken: how
the vocabulary was split changes nothing. Parts are written down and a second, small kernel ends the matter: that needs
no counter that somebody would have to reset, and under programmatic dependent launch its start is hidden.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
import triton
import triton.language as tl
from torch import Tensor

from neokernels.device import Device
from neokernels.tuning.space import Config, Inputs, Knob, Outputs, P, TunableKernel

KNOBS = (
    Knob("BLOCK", (512, 1024, 2048, 4096)),
    Knob("num_warps", (2, 4, 8, 16)),
    Knob("launch_pdl", (False, True)),
)
"""Of a kernel that such programs run: tokens a program, and how it is launched."""

NOTHING = tl.constexpr(-(1 << 63) + 0x7FFFFFFF)
"""Below every score that is a number; where nothing else was scored it stands for token 0."""


@triton.jit
def ordered(values):
    """float32 as int32 of the same order; the two zeros are one. Its own inverse is `number_of`."""
    bits = (values + 0.0).to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def keyed(scores, tokens):
    """Scores, float32, of tokens as int64 whose maximum is the winner: between −2⁶² and 2⁶²."""
    return (ordered(scores).to(tl.int64) << 31) | (tokens ^ 0x7FFFFFFF).to(tl.int64)


@triton.jit
def token_of(key):
    return (key & 0x7FFFFFFF) ^ 0x7FFFFFFF


@triton.jit
def _best_token_kernel(keys_ptr, tokens_ptr, splits, SPLITS: tl.constexpr, WAITS: tl.constexpr):
    if WAITS:
        tl.extra.cuda.gdc_wait()
    row = tl.program_id(0).to(tl.int64)
    split = tl.arange(0, SPLITS)
    keys = tl.load(keys_ptr + row * splits + split, split < splits, other=NOTHING)
    tl.store(tokens_ptr + row, token_of(tl.max(keys)))
    if WAITS:
        tl.extra.cuda.gdc_launch_dependents()


def best_tokens(keys: Tensor, config: Config) -> Tensor:
    """The tokens of the largest of `keys` [R, splits] int64 in each row, [R] int64."""
    rows, splits = keys.shape
    tokens = torch.empty(rows, dtype=torch.int64, device=keys.device)
    _best_token_kernel[(rows,)](
        keys,
        tokens,
        splits,
        SPLITS=triton.next_power_of_2(splits),
        WAITS=config.waits,
        **{**config.options, "num_warps": 1 if splits <= 128 else 4},
    )
    return tokens


def scores_of(tokens: Tensor, scores: Tensor) -> Tensor:
    """What `scores` [R, V] has for each row's token, [R] float32; −∞ for what is no token.

    Which of two tokens wins whose scores are the same to the last digits is rounding, so these are what is compared.
    """
    last = scores.shape[-1] - 1
    found = scores.gather(-1, tokens.clamp(0, last)[:, None]).squeeze(-1)
    return torch.where((tokens >= 0) & (tokens <= last), found, -torch.inf).float()


def schedule(rows: int, vocabulary: int, device: Device) -> Config:
    """Eight tokens a thread: of more, registers leave too few programs on a multiprocessor to wait for memory."""
    block = 2048 if rows * triton.cdiv(vocabulary, 2048) >= 4 * device.multiprocessors else 1024
    return Config(BLOCK=block, num_warps=block // 256, launch_pdl=False)


def makes_sense(config: Config) -> bool:
    """Whether a thread has enough of a block for loads of sixteen bytes, and not too much for its registers."""
    return 4 <= config.number("BLOCK") / (32 * config.number("num_warps")) <= 32


SOURCES = (ordered, keyed, token_of, _best_token_kernel)


class TokenKernel(TunableKernel[P]):
    """A kernel whose output is tokens, which are held to the truth by their scores."""

    @abstractmethod
    def scores(self, inputs: Inputs) -> Tensor:
        """What each token is chosen by, [R, V] float64."""

    def exact(self, inputs: Inputs) -> Outputs:
        return (self.scores(inputs).amax(-1),)

    def compared(self, inputs: Inputs, outputs: Outputs) -> Outputs:
        return (scores_of(outputs[0], self.scores(inputs)),)
