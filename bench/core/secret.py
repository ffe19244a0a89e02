"""What only the environment may hold: the key of a server, the user and the password of another."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from bench.core.errors import InputError

_USUAL_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Login:
    user: str = field(repr=False)
    password: str = field(repr=False)


def api_key(variable: str, where: str) -> str:
    """The key in the environment variable of that name. Raises InputError, at `where`, where it holds none."""
    key = _held(variable, where, "a key").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(f"the environment variable {variable!r} holds what is no key", where=where, allowed="ASCII")
    return key


def login(user_variable: str, password_variable: str, where: str) -> Login:
    """User and password in the environment variables of those names. Raises InputError where one holds none.

    `where` is the section that names them, as `user_env` and `password_env`.
    """
    return Login(
        _held(user_variable, f"{where}.user_env", "a user's name"),
        _held(password_variable, f"{where}.password_env", "a password"),
    )


def _held(variable: str, where: str, what: str) -> str:
    held = os.environ.get(variable, "")
    if not held.strip():
        # Who takes it for the place of the secret itself does not find that printed.
        named = f" {variable!r}" if _USUAL_NAME.fullmatch(variable) else ", whose name is not repeated here,"
        raise InputError(
            f"the environment variable{named} is not set",
            where=where,
            allowed=f"the name of one that holds {what}",
        )
    return held
