"""The C kernels of this folder, compiled on first use for the machine they run on.

They are plain C with a C ABI: no header of torch or Python is needed, and a build takes seconds. What was built is kept
beside the sources, or in the user's cache where that folder cannot be written, under a digest of everything it depends
on: sources, flags, compiler and CPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

from neokernels.registry import Target

_FOLDER = Path(__file__).parent
_FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fPIC", "-shared", "-pthread")
_BUILD_SECONDS = 300


class BuildError(Exception):
    """The kernels cannot be had here; the message says why in one line."""


@cache
def library() -> ctypes.CDLL:
    """The kernels, built if they were not. Raises BuildError."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BuildError("there is no C compiler, cc, on the path")
    sources = sorted(_FOLDER.glob("*.[ch]"))
    digest = _digest(sources, Path(compiler))
    refusal = "no folder can be written"
    for folder in _folders():
        try:
            file = _kept(folder, digest) or _build(compiler, sources, folder, digest)
            return ctypes.CDLL(str(file))
        except OSError as error:
            refusal = str(error).partition("\n")[0]
    raise BuildError(f"the kernels could not be kept or loaded: {refusal}")


def _folders() -> Iterator[Path]:
    yield _FOLDER / "built"
    with contextlib.suppress(RuntimeError):  # a user without a home
        # As the XDG base directory specification says.
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neokernels"


def _kept(folder: Path, digest: str) -> Path | None:
    """A library that was built earlier and is whole: its name holds the digest of its contents, too."""
    whole = (file for file in folder.glob(f"{digest}-*.so") if file.name == _name(digest, file))
    return next(whole, None)


def _name(digest: str, built: Path) -> str:
    return f"{digest}-{hashlib.sha256(built.read_bytes()).hexdigest()[:16]}.so"


def kernel(name: str, *argument_types: Any) -> Callable[..., None]:
    """A function of the library, which takes what it is declared to take. Raises BuildError."""
    function = library()[name]
    function.argtypes, function.restype = argument_types, None
    return function


@cache
def unavailable() -> str | None:
    """Why there are no kernels here; None when there are."""
    try:
        library()
    except BuildError as error:
        return str(error)
    return None


def refuses(target: Target) -> str | None:
    """The requirement of every kernel here: a CPU, float32 or bfloat16, and a library that could be built."""
    if target.device.type != "cpu":
        return "serves a CPU only"
    if target.dtype not in (torch.float32, torch.bfloat16):
        return "serves float32 and bfloat16 only"
    return unavailable()


def refuses_cache(target: Target) -> str | None:
    """The requirement of those that touch the KV cache: its dtype is that of what is computed."""
    if target.kv_dtype not in (None, target.dtype):
        return "serves a cache in the dtype of the activations only"
    return refuses(target)


def _build(compiler: str, sources: list[Path], folder: Path, digest: str) -> Path:
    """Compile into a file of its own first: another process may be building the same."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, made = tempfile.mkstemp(dir=folder, suffix=".so")
    os.close(handle)
    command = [compiler, *_FLAGS, "-o", made, *(str(source) for source in sources if source.suffix == ".c"), "-lm"]
    try:
        english = {**os.environ, "LC_ALL": "C"}
        built = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_BUILD_SECONDS, env=english
        )
        if built.returncode:
            complaint = next((line for line in built.stderr.splitlines() if "error" in line), "no reason given")
            raise BuildError(f"{compiler} failed: {complaint.strip()}")
        os.chmod(made, 0o755)
        file = folder / _name(digest, Path(made))
        os.replace(made, file)
        return file
    except subprocess.TimeoutExpired:
        raise BuildError(f"{compiler} took more than {_BUILD_SECONDS} s") from None
    finally:
        Path(made).unlink(missing_ok=True)


def _digest(sources: list[Path], compiler: Path) -> str:
    stat = compiler.resolve().stat()
    digest = hashlib.sha256(f"{_FLAGS} {compiler.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    digest.update(_cpu().encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:24]


def _cpu() -> str:
    """What `-march=native` depends on: model and features of the first CPU."""
    described = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    lasting = ("model", "flags", "features", "cpu part", "cpu implementer", "cpu variant")
    return "\n".join(line for line in described.splitlines() if line.lower().startswith(lasting))
