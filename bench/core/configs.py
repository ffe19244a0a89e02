"""Where the project's own data lives: suites, models, workloads and offers a user names without a path."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import InputError

_PACKAGE = Path(__file__).resolve().parents[1]


def config_root() -> Path:
    """The `configs` folder: inside the installed package, or at the top of a checkout."""
    packaged = _PACKAGE / "configs"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "configs"


def resolve(name_or_path: str, kind: str, suffix: str = ".yaml") -> Path:
    """The file or folder that `name_or_path` means: an existing path, or a name under `configs/<kind>`.

    Raises InputError naming what exists when neither does.
    """
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    named = config_root() / kind / f"{name_or_path}{suffix}"
    if "/" not in name_or_path and named.exists():
        return named
    known = ", ".join(names(kind, suffix)) or "none"
    raise InputError(f"no such {kind.removesuffix('s')}", where=name_or_path, allowed=f"a path, or a name: {known}")


def names(kind: str, suffix: str = ".yaml") -> list[str]:
    """Names under `configs/<kind>`, sorted; folders when `suffix` is empty."""
    root = config_root() / kind
    if not root.is_dir():
        return []
    found = (p for p in root.iterdir() if (p.is_dir() if suffix == "" else p.suffix == suffix))
    return sorted(p.name if suffix == "" else p.stem for p in found)
