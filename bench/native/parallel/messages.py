"""What rank 0 and the others say to each other beside the collectives: tuples of plain values, one per message."""

from __future__ import annotations

from typing import NamedTuple

from bench.native.batch import HostBatch
from bench.native.messages import EngineFailed, InputRefused
from bench.native.parallel.ranks import Ranks
from bench.native.settings import EngineSettings


class Join(NamedTuple):
    """The first message to a follower."""

    ranks: Ranks
    port: int
    """Of rank 0's store, on the loopback interface."""
    model_folder: str
    settings: EngineSettings
    random_seed: int | None


class Serve(NamedTuple):
    """Make the KV pool and the graphs; steps follow."""

    blocks: int


class Step(NamedTuple):
    batch: HostBatch
    shares_newest: bool
    """Rank 0 then broadcasts the newest tokens before it: some of them no host knows yet."""


class Leave(NamedTuple):
    """End."""


Order = Join | Serve | Step | Leave


class Here(NamedTuple):
    """The process is up, and will join when told to."""


class Loaded(NamedTuple):
    """The rank has its part of the model."""

    blocks: int
    """How many its KV pool could hold."""
    parameter_bytes: int


Answer = Here | Loaded | InputRefused | EngineFailed
