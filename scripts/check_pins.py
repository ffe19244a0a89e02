"""Asks the package index for a wheel of every pin in constraints.txt, on every machine the project supports.

    python scripts/check_pins.py [--python-version 3.11 ...] [--constraints FILE]

A pin that only a source distribution would satisfy fails: it would need a compiler on the user's machine.
Only index pages are read; no package is downloaded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from itertools import product
from pathlib import Path

# torch needs glibc 2.28; a machine that has it also takes wheels built for an older one, and pip must be told which.
GLIBC_TAGS = ("manylinux1", "manylinux2010", "manylinux2014", *(f"manylinux_2_{minor}" for minor in range(5, 29)))
MACHINES = ("x86_64", "aarch64")


@dataclass(frozen=True)
class Target:
    """A machine and an interpreter that every pin must have a wheel for."""

    machine: str
    python_version: str

    def __str__(self) -> str:
        return f"{self.machine} Python {self.python_version}"

    def pip_options(self) -> list[str]:
        platforms = [f"--platform={tag}_{self.machine}" for tag in GLIBC_TAGS]
        return ["--only-binary=:all:", f"--python-version={self.python_version}", *platforms]


def read_pins(constraints: Path) -> list[tuple[str, str]]:
    """Name and version of every pin. Raises SystemExit at a line that pins no exact version."""
    pins = []
    for number, line in enumerate(constraints.read_text().splitlines(), start=1):
        requirement = line.partition("#")[0].strip()
        if not requirement:
            continue
        name, equals, version = requirement.partition("==")
        if not equals:
            raise SystemExit(f"{constraints}:{number}: {requirement!r} is no pin (allowed: name==version)")
        pins.append((name, version))
    return pins


def wheel_versions(name: str, target: Target) -> set[str]:
    """Versions of `name` that the index has a wheel of for `target`; empty when it has none."""
    command = [sys.executable, "-m", "pip", "index", "versions", name, "--json", *target.pip_options()]
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return set(json.loads(listing)["versions"]) if listing else set()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--constraints", type=Path, default=Path(__file__).parents[1] / "constraints.txt")
    parser.add_argument("--python-version", nargs="+", default=["3.11"])
    arguments = parser.parse_args()
    if int(installed_version("pip").partition(".")[0]) < 26:
        raise SystemExit("pip before 26.0 takes source distributions for wheels here (allowed: pip 26.0 or newer)")

    pins = read_pins(arguments.constraints)
    targets = [Target(*pair) for pair in product(MACHINES, arguments.python_version)]
    checks = list(product(pins, targets))
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda check: wheel_versions(check[0][0], check[1]), checks))

    missing = [(pin, target) for (pin, target), versions in zip(checks, found, strict=True) if pin[1] not in versions]
    for (name, version), target in missing:
        print(f"{name}=={version}: no wheel for {target}")
    asked = f"{len(pins)} pins for {', '.join(map(str, targets))}"
    print(f"{asked}: {len(checks) - len(missing)} wheels found, {len(missing)} missing")
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
