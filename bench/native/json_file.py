"""The JSON files of a model folder, their mistakes told with file and place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.core.errors import InputError

_REQUIRED: Any = object()


def read_json_object(path: Path) -> dict[str, Any]:
    """The object a file holds. Raises InputError where the file is missing, unreadable or holds something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", where=path, allowed="a Hugging Face model folder holds one") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from error
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", where=path, allowed="UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}", where=f"{path}:{error.lineno}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"JSON that cannot be held: {error}", where=path) from None
    if not isinstance(document, dict):
        raise InputError(f"holds {type(document).__name__}", where=path, allowed="a JSON object")
    return document


class JsonObject:
    """One object of a JSON file. A key set to null counts as not given."""

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        self.path = path
        self._values = values

    @staticmethod
    def read(path: Path) -> JsonObject:
        """Raises InputError as `read_json_object` does."""
        return JsonObject(path, read_json_object(path))

    def get(self, key: str, default: Any = _REQUIRED) -> Any:
        value = self._values.get(key)
        if value is not None:
            return value
        if default is _REQUIRED:
            raise InputError(f"{key!r} is missing", where=self.path)
        return default

    def integer(self, key: str, default: Any = _REQUIRED, *, least: int = 1) -> int:
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            allowed = "a positive integer" if least == 1 else f"an integer from {least}"
            raise InputError(f"{key} = {value!r}", where=self.path, allowed=allowed)
        return value

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise InputError(f"{key} = {value!r}", where=self.path, allowed="a positive number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise InputError(f"{key} = {value!r}", where=self.path, allowed="true, false")
        return value

    def object(self, key: str) -> JsonObject:
        """The object at `key`, empty where there is none."""
        value = self.get(key, {})
        if not isinstance(value, dict):
            raise InputError(f"{key} = {value!r}", where=self.path, allowed="a JSON object")
        return JsonObject(self.path, value)
