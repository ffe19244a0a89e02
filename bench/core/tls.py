"""Whom a client trusts."""

from __future__ import annotations

import ssl

from bench.core.errors import InputError


def tls_context(*, verify: bool, ca_file: str | None, where: str) -> ssl.SSLContext:
    """Trust in the system's certificates, or in those of `ca_file` alone.

    Raises InputError, at `where`, where that file has none.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error.args[-1]
        raise InputError(f"{ca_file}: {reason}", where=where, allowed="a file of PEM certificates") from None
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
