"""What this package takes from its neighbours, which are found by their folders."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).parents[2]
sys.path += [str(_TESTS / "support"), str(_TESTS / "benchmarks" / "engines")]

from model import make_model  # noqa: E402
from serving import bench_serve  # noqa: E402
from vllm_asking import TINY, real_environment  # noqa: E402

__all__ = ["TINY", "bench_serve", "make_model", "real_environment"]
