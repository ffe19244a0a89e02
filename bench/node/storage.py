"""Disks, and what the folders lie on that results are written to and models are read from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.node.facts import AbsentError, Facts, chosen_in, entries_of, read_int, read_text

_OCTAL = re.compile(r"\\([0-7]{3})")
"""How mountinfo writes spaces in a path."""
_SECTOR_BYTES = 512
"""The kernel counts a disk's size in these, whatever the disk's own are."""


def storage_facts(root: Path = Path("/"), folders: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """Every block device that is no loop, memory disk or volume on others, and each of `folders` by what it is for."""
    facts = Facts()
    facts.take("devices", lambda: [_disk(folder) for folder in _disks(root)])
    told = {purpose: _folder(root, folder) for purpose, folder in (folders or {}).items()}
    return {**facts.as_dict(), "folders": told}


def _disks(root: Path) -> list[Path]:
    return [folder for folder in entries_of(root / "sys/block") if (folder / "device").exists()]


def _disk(folder: Path) -> dict[str, Any]:
    facts = Facts()
    facts.take("device", lambda: folder.name)
    facts.take("model", lambda: " ".join(read_text(folder / "device/model").split()))
    facts.take("firmware", lambda: read_text(folder / "device/firmware_rev"))
    facts.take("size_bytes", lambda: read_int(folder / "size") * _SECTOR_BYTES)
    facts.take("rotational", lambda: bool(read_int(folder / "queue/rotational")))
    facts.take("scheduler", lambda: chosen_in(folder / "queue/scheduler"))
    facts.take("write_cache", lambda: read_text(folder / "queue/write_cache"))
    return facts.as_dict()


@dataclass(frozen=True, slots=True)
class _Mount:
    """A line of /proc/self/mountinfo, without its source: a network file system's names a host."""

    device: str
    """Major and minor number of what is mounted."""
    point: Path
    filesystem: str


def _folder(root: Path, folder: Path) -> dict[str, Any]:
    """The file system that `folder` is on, or will be once it is made."""
    place = folder.resolve()
    facts = Facts()
    mount = cache(lambda: _mount_of(root, place))
    disk = cache(lambda: _disk_of(root, mount()))
    space = cache(lambda: _space(place))
    facts.take("filesystem", lambda: mount().filesystem)
    facts.take("disk", lambda: disk().name)
    facts.take("rotational", lambda: bool(read_int(disk() / "queue/rotational")))
    facts.take("total_bytes", lambda: space().f_blocks * space().f_frsize)
    facts.take("free_bytes", lambda: space().f_bavail * space().f_frsize)
    return facts.as_dict()


def _space(place: Path) -> os.statvfs_result:
    for there in (place, *place.parents):
        try:
            return os.statvfs(there)
        except FileNotFoundError:
            continue  # not made yet
        except OSError as error:
            raise AbsentError(f"the folder's file system does not answer: {error.strerror}") from error
    raise AbsentError("nothing above the folder is there")


def _mount_of(root: Path, place: Path) -> _Mount:
    """The mount that `place` is on: of those at the deepest point above it, the last."""
    mounts = [_mount(line) for line in read_text(root / "proc/self/mountinfo").splitlines()]
    above = [mount for mount in mounts if place.is_relative_to(mount.point)]
    if not above:
        raise AbsentError("/proc/self/mountinfo has no mount above the folder")
    return max(reversed(above), key=lambda mount: len(mount.point.parts))


def _mount(line: str) -> _Mount:
    """proc_pid_mountinfo(5): a varying number of fields ends with a hyphen."""
    place, _, what = line.partition(" - ")
    fields = place.split()
    point = _OCTAL.sub(lambda escaped: chr(int(escaped[1], 8)), fields[4])
    return _Mount(fields[2], Path(point), what.split()[0])


def _disk_of(root: Path, mount: _Mount) -> Path:
    """The folder in /sys of the block device mounted there, of the whole disk for a partition."""
    folder = root / "sys/dev/block" / mount.device
    if not folder.exists():
        raise AbsentError(f"{mount.filesystem} is on no disk of this machine's")
    device = folder.resolve()
    return device.parent if (device / "partition").exists() else device
