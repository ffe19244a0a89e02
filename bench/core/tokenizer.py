"""A model's tokenizer, from the folder the model is in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from tokenizers import Tokenizer

from bench.core.errors import InputError

TOKENIZER_FILE = "tokenizer.json"


def load_tokenizer(folder: Path, *, otherwise: str = ", or a workload with length_mode: pinned") -> Tokenizer:
    """Raises InputError where `folder` has no tokenizer, or what it has is none; `otherwise` is what does without."""
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise InputError(f"no {TOKENIZER_FILE}", where=folder, allowed=f"one{otherwise}")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # The library raises nothing narrower
        raise InputError(f"not a tokenizer: {error}", where=path, allowed="a Hugging Face tokenizer.json") from error


def token_counter(folder: Path) -> Callable[[str], int] | None:
    """What counts a text's tokens, special ones not added, as the model in `folder` does; None without a tokenizer."""
    if not (folder / TOKENIZER_FILE).exists():
        return None
    # Large ones take half a second to read, and few workloads have texts to count.
    tokenizer = cache(partial(load_tokenizer, folder))
    return lambda text: len(tokenizer().encode(text, add_special_tokens=False).ids)
