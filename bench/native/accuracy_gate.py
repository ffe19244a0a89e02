"""The accuracy check as an engine goes through it while it loads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.native.accuracy import make_reference, measure
from bench.native.graphs.runner import StepRunner
from bench.native.kv_pool import KvPool
from bench.native.settings import EngineSettings


class AccuracyGate:
    """Made before the model takes its memory, for its reference takes some; asked when the engine can step."""

    def __init__(self, folder: Path, settings: EngineSettings, random_seed: int | None, device: torch.device) -> None:
        self.seconds = 0.0
        """Spent on the reference and on being held to it."""
        self._settings = settings
        self._unchecked = _unchecked(settings, random_seed)
        with self._timed():
            self._reference = None if self._unchecked else make_reference(folder, device)

    def check(self, runner: StepRunner, pool: KvPool) -> dict[str, Any]:
        """The `figures` of an engine with nothing to do, or the `reason` why there are none, in plain values."""
        if self._reference is None:
            return {"reason": self._unchecked}
        if pool.blocks * pool.block_tokens < 2:
            return {"reason": "a KV pool of one token holds no text"}
        with self._timed():
            asked = self._settings
            figures = measure(runner, pool.blocks, asked.max_running, asked.step_tokens, self._reference)
        return {"figures": asdict(figures)}

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds += time.monotonic() - began


def _unchecked(settings: EngineSettings, random_seed: int | None) -> str | None:
    """Why the answers are not checked; None where they are."""
    if random_seed is not None:
        return "random weights"
    return None if settings.check_accuracy else "engine.check_accuracy is off"
