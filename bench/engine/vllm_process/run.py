"""What vLLM's interpreter is given to run: `python run.py FD`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_BENCH = Path(__file__).resolve().parents[2]


def _make_bench_importable() -> None:
    """By its own folder alone: on the path, that folder's parent would bring along every package installed beside."""
    spec = importlib.util.spec_from_file_location(
        "bench", _BENCH / "__init__.py", submodule_search_locations=[str(_BENCH)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":  # vLLM's own processes may import this file once more
    _make_bench_importable()
    from bench.engine.vllm_process.worker import main

    main(int(sys.argv[1]))
