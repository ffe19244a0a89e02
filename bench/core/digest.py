"""Digests that name things by content: a case, a model, a workload, a table."""

from __future__ import annotations

import hashlib
import json
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


def model_digest(folder: Path) -> str:
    """Digest of a model: its config, its tokenizer and every weight file, whatever the folder is called."""
    named = (folder / "config.json", folder / "tokenizer.json")
    files = [*(p for p in named if p.is_file()), *sorted(folder.glob("*.safetensors"))]
    return digest_of({p.name: file_digest(p) for p in files})
