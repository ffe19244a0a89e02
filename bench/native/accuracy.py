"""Whether the engine still says what the model says, in the very configuration that will be timed.

Fixed texts are run through the engine's own steps, half of each as a prompt in chunks and half token by token, and
through a reference: the same weights in float32, every operation by its reference implementation. At each position both
give a distribution over the next token, whatever either would have said before.

KL = Σ_v p(v) · (log p(v) − log q(v)), p the reference's and q the engine's; perplexity = exp(−mean log-probability of
the text's next token). Speculation is not part of it: it accepts what the model would have said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from neokernels.registry import Registry, Target
from tokenizers import Tokenizer
from torch import Tensor

from bench.core.configs import config_root
from bench.core.errors import InputError
from bench.core.work import AccuracyFigures
from bench.native.batch import BatchItem, HostBatch
from bench.native.device import free_bytes
from bench.native.graphs.runner import StepRunner
from bench.native.kv_pool import KvPool
from bench.native.model_config import ModelConfig
from bench.native.models import load_model
from bench.native.reference_cache import kept
from bench.native.weight_size import weight_bytes

PROBE_TOKENS = 64
_PROBES = 4
_MEMORY_SHARE = 0.6
"""Of what is free, that a reference in float32 may take: its activations and the driver need some too."""


@dataclass(frozen=True)
class Reference:
    """What the reference says of the probes."""

    probes: tuple[tuple[int, ...], ...]
    """Token ids, as many each."""
    log_probabilities: Tensor
    """[probes, tokens, V] float32 on the host."""
    computed: str
    """`float32`, or `bfloat16, layer by layer`, against which figures are only bounds."""

    def cut(self, tokens: int) -> Reference:
        """The same of the first `tokens` of each probe."""
        if tokens >= len(self.probes[0]):
            return self
        probes = tuple(probe[:tokens] for probe in self.probes)
        return replace(self, probes=probes, log_probabilities=self.log_probabilities[:, :tokens])


def make_reference(folder: Path, device: torch.device, *, most_bytes: int | None = None) -> Reference:
    """Run the probes through the model of `folder` in float32, if its weights fit `most_bytes` (null: what is free).

    Otherwise its layers are read one at a time in bfloat16, and what comes out is kept for the next time, by the
    digest of model and probes. Raises InputError for a folder that is not a whole model or has another's tokenizer.
    """
    config = ModelConfig.from_folder(folder)
    probes = _probes(folder, config)
    most = int(free_bytes(device) * _MEMORY_SHARE) if most_bytes is None else most_bytes
    if weight_bytes(folder, Target(device, torch.float32)) < most:
        return Reference(probes, _log_probabilities(folder, device, torch.float32, probes), "float32")
    log_probabilities = kept(
        folder, probes, lambda: _log_probabilities(folder, device, torch.bfloat16, probes, streamed=True)
    )
    return Reference(probes, log_probabilities, "bfloat16, layer by layer")


def measure(
    runner: StepRunner, blocks: int, max_running: int, step_tokens: int, reference: Reference
) -> AccuracyFigures:
    """How far the engine behind `runner`, which has to be idle, is from `reference`."""
    reference = reference.cut(blocks * runner.block_tokens)
    needed = -(-len(reference.probes[0]) // runner.block_tokens)
    together = min(len(reference.probes), max_running, step_tokens, blocks // needed)
    found = [
        _steps(runner, reference.probes[first : first + together], step_tokens)
        for first in range(0, len(reference.probes), together)
    ]
    return compare(torch.cat(found), reference)


def compare(log_probabilities: Tensor, reference: Reference) -> AccuracyFigures:
    """log_probabilities [probes, tokens, V] float32, the engine's at the positions of the reference."""
    expected, found = reference.log_probabilities.flatten(0, 1), log_probabilities.flatten(0, 1)
    divergences = torch.tensor([_divergence(p.double(), q.double()) for p, q in zip(expected, found, strict=True)])
    following = torch.tensor([probe[1:] for probe in reference.probes])[..., None]

    def perplexity(of: Tensor) -> Tensor:
        return (-of[:, :-1].double().gather(-1, following).mean()).exp()

    asked, got = perplexity(reference.log_probabilities), perplexity(log_probabilities)
    return AccuracyFigures(
        tokens=len(divergences),
        kl_mean=_number(divergences.mean()),
        kl_max=_number(divergences.max()),
        top1_agreement=float((expected.argmax(-1) == found.argmax(-1)).double().mean()),
        perplexity=_number(got),
        reference_perplexity=_number(asked),
        perplexity_difference=_number(got / asked - 1),
        reference=reference.computed,
    )


def _divergence(expected: Tensor, found: Tensor) -> float:
    return float((expected.exp() * (expected - found)).nansum()) if found.isfinite().all() else math.inf


def _number(value: Tensor) -> float | None:
    return float(value) if value.isfinite() else None


def _probes(folder: Path, config: ModelConfig) -> tuple[tuple[int, ...], ...]:
    """Texts by the model's tokenizer, or numbers where it has none."""
    tokens = min(PROBE_TOKENS, config.max_positions)
    encoded = _texts(folder)
    if not encoded or not all(encoded):
        drawn = np.random.default_rng(0).integers(config.vocabulary, size=(_PROBES, tokens))
        return tuple(tuple(row) for row in drawn.tolist())
    if (largest := max(map(max, encoded))) >= config.vocabulary:
        raise InputError(
            f"encodes text as token {largest}",
            where=folder / "tokenizer.json",
            allowed=f"tokens below the model's vocabulary of {config.vocabulary}",
        )
    return tuple(tuple((ids * tokens)[:tokens]) for ids in encoded)


def _texts(folder: Path) -> list[list[int]]:
    """Token ids of the texts, none where there is no tokenizer."""
    tokenizer = _tokenizer(folder)
    if tokenizer is None:
        return []
    texts = (config_root() / "accuracy.txt").read_text(encoding="utf-8").split("\n\n")[:_PROBES]
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def _tokenizer(folder: Path) -> Tokenizer | None:
    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception:  # noqa: BLE001 - the library raises nothing narrower, and whoever needs a tokenizer will say so
        return None


def _log_probabilities(
    folder: Path, device: torch.device, dtype: torch.dtype, probes: Sequence[Sequence[int]], *, streamed: bool = False
) -> Tensor:
    """Whole probes in one step, [probes, tokens, V] float32 on the host."""
    model = load_model(folder, Target(device, dtype), Registry(reference=True), streamed=streamed)
    tokens = len(probes[0])
    pool = KvPool(model.cache_shape, len(probes), tokens, dtype, device)
    items = [BatchItem(probe, 0, [block], tokens) for block, probe in enumerate(probes)]
    logits = model.forward(HostBatch.of(items, tokens).on(device), pool)
    return logits.log_softmax(-1).cpu().view(len(probes), -1, logits.shape[-1])


def _steps(runner: StepRunner, probes: Sequence[Sequence[int]], step_tokens: int) -> Tensor:
    """The same through the engine: the first half of each probe in chunks, all at once, then a token of each a step."""
    tokens = len(probes[0])
    blocks = -(-tokens // runner.block_tokens)
    tables = np.arange(len(probes) * blocks).reshape(len(probes), blocks).tolist()
    chunk = max(1, min(tokens // 2, step_tokens // len(probes)))
    edges = [*range(0, tokens // 2, chunk), *range(tokens // 2, tokens + 1)]
    found = []
    for start, end in pairwise(edges):
        items = [
            BatchItem(probe[start:end], start, table, end - start) for probe, table in zip(probes, tables, strict=True)
        ]
        logits = runner.run(runner.plan(HostBatch.of(items, runner.block_tokens)))
        found.append(logits.log_softmax(-1).cpu().view(len(probes), end - start, -1))
    return torch.cat(found, dim=1)
