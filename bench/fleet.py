"""A fleet read from files: descriptions that `bench node show --json` printed, and the nodes of results."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from bench.core.errors import InputError
from bench.node.fleet import FleetNode, check_description
from bench.results.record import RECORD_FILE, Record
from bench.results.result import scan

_DESCRIPTION = "what `bench node show --json` prints"


def read_fleet(paths: Iterable[Path]) -> list[FleetNode]:
    """One node a file; of a folder with results every machine in it, as its last record has it.

    A node is called by its file's name without suffix, with the folder's before it where several have one name. One of
    a folder of results is called by the folder, or by its record where there are several. Raises InputError for a path
    that is neither, and for a description that is broken.
    """
    paths = list(paths)
    stems = Counter(path.stem for path in paths)
    nodes: list[FleetNode] = []
    for path in paths:
        if os.path.isdir(path) or path.name == RECORD_FILE:
            nodes += _of_results(path)
        else:
            nodes.append(
                _of_file(path, path.stem if stems[path.stem] == 1 else f"{path.resolve().parent.name}/{path.stem}")
            )
    return nodes


def node_of(record: Record) -> FleetNode:
    """The node that a record was measured on. Raises InputError for one that does not say."""
    check_description(record.node, record.id)
    return FleetNode(record.id, record.node)


def _of_file(path: Path, name: str) -> FleetNode:
    try:
        description = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        raise InputError("no such file", where=path, allowed=_DESCRIPTION) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path, allowed=_DESCRIPTION) from None
    except (ValueError, RecursionError) as error:
        told = str(error).partition("\n")[0]
        raise InputError(f"cannot be read: {told}", where=path, allowed=_DESCRIPTION) from None
    check_description(description, str(path))
    return FleetNode(name, description)


def _of_results(path: Path) -> list[FleetNode]:
    last: dict[object, FleetNode] = {}
    for result in scan([path]):
        node = node_of(result.record)
        last[node.identities or _facts_without_boot(node.description)] = node
    folder = (path if path.is_dir() else path.parent).resolve()
    named = [FleetNode(folder.name, node.description) for node in last.values()]
    return named if len(named) == 1 else list(last.values())


def _facts_without_boot(description: Mapping[str, Any]) -> str:
    """What stands for a machine that has no name of its own, as one in a container has none: what it is."""
    return json.dumps([description.get("hardware"), description.get("cpu")], sort_keys=True)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
