"""The key of a server, which nobody but the environment holds."""

from __future__ import annotations

import os

from bench.core.errors import InputError


def api_key(variable: str, where: str) -> str:
    """The key in the environment variable of that name. Raises InputError, at `where`, where it holds none."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(
            f"the environment variable {variable!r} is not set", where=where, allowed="the name of one that holds a key"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(f"the environment variable {variable!r} holds what is no key", where=where, allowed="ASCII")
    return key
