"""Digests that name things by content: a case, a model, a workload, a table."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any


def digest_of(value: Any) -> str:
    """Sixteen hex digits of the SHA-256 of `value` as canonical JSON: sorted keys, no spaces, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_digest(folder: Path, random_seed: int | None = None, *, weights: bool = True) -> str:
    """Digest of a model: its config, its tokenizer and every weight file, whatever the folder is called.

    With `random_seed` its weights are made from that seed, and the digest names the seed in place of the files; without
    `weights` they are somewhere else, and it names neither.
    """
    named = (folder / "config.json", folder / "tokenizer.json")
    files = sorted(folder.glob("*.safetensors")) if weights and random_seed is None else []
    content: dict[str, Any] = {p.name: file_digest(p) for p in named if p.is_file()}
    content |= {p.name: _unchanged_digest(p, p.stat().st_size, p.stat().st_mtime_ns) for p in files}
    return digest_of(content if random_seed is None else {**content, "random_seed": random_seed})


@cache
def _unchanged_digest(path: Path, size: int, changed_ns: int) -> str:  # noqa: ARG001 - they tell one content from another
    """`file_digest` of a file that many cases may name, and that takes long to read."""
    return file_digest(path)
