"""The address a server of ours listens on."""

from __future__ import annotations

import socket

from bench.core.errors import InputError


def bound_socket(host: str, port: int) -> tuple[socket.socket, str]:
    """A socket bound to an address of this machine, on a free port where it is 0, and its URL.

    It does not listen yet. Raises InputError for an address that cannot be had.
    """
    if not host or not (host.isascii() and host.isprintable()):  # empty would be every address, and no URL
        raise InputError(f"host {host!r}", allowed="an address of this machine")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, UnicodeError) as error:
        bound.close()
        reason = error.strerror if isinstance(error, OSError) else "no name of a machine"
        raise InputError(f"{host} port {port}: {reason}", allowed="a free address of this machine") from None
    address = f"[{host}]" if family == socket.AF_INET6 else host
    return bound, f"http://{address}:{bound.getsockname()[1]}"
