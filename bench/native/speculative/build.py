"""From what a suite says of speculation to what drafts and verifies."""

from __future__ import annotations

from pathlib import Path

from neokernels.registry import Registry, Target

from bench.native.kv_pool import KvPool
from bench.native.models.decoder import Decoder
from bench.native.rank import load_part
from bench.native.sampler import Sampler
from bench.native.settings import EngineSettings
from bench.native.speculative.draft_model import DraftModelSpeculator
from bench.native.speculative.ngram import NgramSpeculator
from bench.native.speculative.speculation import Speculation
from bench.native.speculative.speculator import Speculator
from bench.native.speculative.verify import Verifier


def load_drafter(settings: EngineSettings, target: Target) -> Decoder | None:
    """The model that drafts, whole; None where none does."""
    if settings.speculation is None or settings.speculation.model is None:
        return None
    # With a registry of its own: the record tells what answers for the model that is measured.
    return load_part(Path(settings.speculation.model), target, Registry(settings.kernels), None)


def make_speculation(
    settings: EngineSettings,
    target: Target,
    sampler: Sampler,
    registry: Registry,
    vocabulary: int,
    drafter: tuple[Decoder, KvPool] | None,
) -> Speculation | None:
    """What `settings` ask for, on logits that lie at `target`.

    `drafter`: what `load_drafter` gave, with a pool of the model's blocks.

    Raises InputError for a drafter of another vocabulary.
    """
    asked = settings.speculation
    if asked is None:
        return None
    speculator: Speculator
    if drafter is None:
        speculator = NgramSpeculator(
            tokens=asked.tokens, match_tokens=asked.match_tokens, max_running=settings.max_running
        )
    else:
        speculator = DraftModelSpeculator(
            *drafter,
            sampler,
            target.device,
            vocabulary=vocabulary,
            tokens=asked.tokens,
            max_running=settings.max_running,
            coupled=settings.numerics == "batch_invariant",
        )
    return Speculation(speculator, Verifier(sampler, registry, target))
