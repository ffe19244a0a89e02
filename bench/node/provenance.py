"""Where a result comes from: the code, the versions, the command and the moment.

There is no host name in it (see `bench.core.pseudonym`); the fingerprint's `machine` says which machine it was.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import bench
from bench.node.facts import AbsentError, Facts

DISTRIBUTION = "neobench"
_PACKAGES = (
    *("torch", "triton", "numpy", "scipy", "pandas", "pyarrow", "pydantic", "PyYAML", "safetensors", "tokenizers"),
    *("nvidia-ml-py", "vllm", "ray"),
)
_CHECKOUT = Path(bench.__file__).resolve().parents[1]


def provenance(argv: Sequence[str], checkout: Path = _CHECKOUT) -> dict[str, Any]:
    """Git commit and whether tracked files differ from it, versions of what is installed, the command and the time."""
    facts = Facts()
    facts.take("git_sha", lambda: _commit(checkout))
    facts.take("git_dirty", lambda: _dirty(checkout))
    return {
        "version": bench.__version__,
        **facts.as_dict(),
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "command": list(argv),
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _commit(checkout: Path) -> str:
    """The commit of the checkout in use, or the one an installed copy was built from."""
    try:
        return _checkout_commit(checkout)
    except AbsentError as absent:
        return _installed_commit(str(absent))


def _checkout_commit(checkout: Path) -> str:
    # An installed copy may lie inside somebody else's repository: only one that starts here is this project's.
    if Path(_git(checkout, "rev-parse", "--show-toplevel")) != checkout:
        raise AbsentError("the package in use is not a checkout of its own")
    return _git(checkout, "rev-parse", "HEAD")


def _dirty(checkout: Path) -> bool:
    _checkout_commit(checkout)
    return bool(_git(checkout, "status", "--porcelain", "--untracked-files=no"))


def _installed_commit(why_no_checkout: str) -> str:
    """The commit that pip noted when it installed from a repository (PEP 610)."""
    try:
        noted = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        raise AbsentError(f"{why_no_checkout}, and no {DISTRIBUTION} is installed") from None
    commit = json.loads(noted or "{}").get("vcs_info", {}).get("commit_id")
    if not isinstance(commit, str):
        raise AbsentError(f"{why_no_checkout}, and the installed {DISTRIBUTION} does not name its commit")
    return commit


def _git(folder: Path, *arguments: str) -> str:
    """What git prints. Raises AbsentError with git's first line of complaint."""
    try:
        # Without a lock on the index: one left by a run that ended meanwhile would stop the user's own commits.
        command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AbsentError(f"git cannot be run: {error}") from None
    if done.returncode != 0:
        raise AbsentError(f"git {arguments[0]}: {(done.stderr.strip() or 'failed').splitlines()[0]}")
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
