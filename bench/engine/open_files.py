"""How many files this process may have open: each connection is one."""

from __future__ import annotations

import resource


def allow_most_open_files() -> None:
    """As many as the system lets a process ask for; the usual limit is far below that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
