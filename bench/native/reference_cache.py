"""References that took long to compute, kept for the next time under the user's cache folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.core.digest import digest_of, model_digest

_NAME = "log_probabilities"


def kept(folder: Path, probes: Sequence[Sequence[int]], compute: Callable[[], Tensor]) -> Tensor:
    """What `compute` gives for the model of `folder` and `probes`, from disk where an earlier run left it.

    A cache that cannot be written to costs the time to compute it again and nothing else.
    """
    digest = digest_of({"model": model_digest(folder), "probes": [list(probe) for probe in probes]})
    path = _cache_folder() / "references" / f"{digest}.safetensors"
    try:
        return load_file(path)[_NAME]
    except (OSError, SafetensorError, KeyError):
        computed = compute()
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({_NAME: computed}, partial)
        partial.replace(path)
    except (OSError, SafetensorError):
        with contextlib.suppress(OSError):
            partial.unlink()
    return computed


def _cache_folder() -> Path:
    """As the XDG base directory specification says."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neobench"
