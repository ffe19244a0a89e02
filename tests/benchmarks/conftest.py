"""Benchmarks run with OpenMP as the engine's own process has it."""

from __future__ import annotations

import os

# As `bench.native.worker` says why; read when torch is imported, which is after this.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
