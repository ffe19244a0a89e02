"""Reading a suite: YAML on disk to resolved specs, every mistake told in one line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from bench.core.configs import config_root, names, resolve
from bench.core.endpoint_spec import EndpointPreset
from bench.core.errors import InputError
from bench.core.grid import expand, merge, nested
from bench.core.spec import NamedSlo, Spec

M = TypeVar("M", bound=BaseModel)
_TOP_KEYS = ("suite", "description", "base", "specs", "trace")
_PRESETS = "engines"
_A_MAPPING = "a mapping of keys to values"
_NO_MAPPING = ("model_type", "model_attributes_type", "dict_type")
"""Pydantic's names for something else where a mapping belongs."""


@dataclass(frozen=True)
class Suite:
    """`suite` and `description` in the file are for its readers; what runs are the specs."""

    specs: tuple[Spec, ...]


def load_suite(name_or_path: str, *, sets: tuple[str, ...] = (), trace: str | None = None) -> Suite:
    """The suite with `a.b=value` settings laid over every spec, or over the trace spec when `trace` is a file.

    A setting of something that a grid varies settles it: the grid loses that axis.
    Raises InputError naming file, place and what is allowed.
    """
    path = resolve(name_or_path, "suites")
    document = read_yaml(path)
    for key in document:
        if key not in _TOP_KEYS:
            raise InputError(f"unknown key {key!r}", where=path, allowed=", ".join(_TOP_KEYS))
    base = _with_bounds(_mapping(document.get("base", {}), path, "base"))
    if trace is not None:
        if "trace" not in document:
            raise InputError("this suite has no `trace` section, so --trace cannot be used with it", where=path)
        overrides = [merge({"workload": {"kind": "trace", "path": trace}}, _mapping(document["trace"], path, "trace"))]
        places = ["trace"]
    else:
        listed = document.get("specs")
        if not isinstance(listed, list) or not listed:
            raise InputError("`specs` is missing or empty", where=path, allowed="a list of one or more specs")
        overrides = [_mapping(spec, path, f"specs[{i}]") for i, spec in enumerate(listed)]
        places = [f"specs[{i}]" for i in range(len(listed))]
    set_values = parse_sets(sets)
    settled = {text.partition("=")[0] for text in sets}
    specs = tuple(
        parse(Spec, _with_preset(merge(merge(base, _with_bounds(one)), set_values)), f"{path}: {place}")
        for override, place in zip(overrides, places, strict=True)
        for one in expand(override, f"{path}: {place}", settled)
    )
    _refuse_duplicates(specs, path)
    return Suite(specs)


def _with_bounds(section: dict[str, Any]) -> dict[str, Any]:
    """`section` with every bound of the SLO that it names, so that what is laid over it can change one of them."""
    if not isinstance(section.get("slo"), str):
        return section
    path = resolve(section["slo"], "slos")
    named = parse(NamedSlo, read_yaml(path), str(path))
    return {**section, "slo": named.model_dump(exclude={"source"})}


def _with_preset(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec` with the settings of its endpoint laid over those of the preset that it names.

    Only once the spec is whole: what was written for one preset is kept where another is named in its place.
    """
    engine = spec.get("engine")
    if not isinstance(engine, dict) or engine.get("kind") != "endpoint" or not isinstance(engine.get("preset"), str):
        return spec
    name = engine["preset"]
    # A preset goes before a folder of its name, as a checkout of the server is.
    path = config_root() / _PRESETS / f"{name}.yaml" if name in names(_PRESETS) else resolve(name, _PRESETS)
    preset = parse(EndpointPreset, read_yaml(path), str(path)).settings
    if "base_url" in engine:
        # A key is for the preset's own server: nobody else is given it unasked.
        preset.pop("api_key_env", None)
    return {**spec, "engine": merge(preset, engine)}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises InputError with the line where it stops being one."""
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", where=path, allowed="UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise InputError(f"not YAML: {getattr(error, 'problem', None) or error}", where=place) from error
    except ValueError as error:
        # Something shaped like a date that is not one: PyYAML lets the calendar's own error through, without a mark.
        line = _line_of_false_date(text)
        if line is None:
            raise InputError(f"not YAML: {error}", where=path) from error
        raise InputError(f"no such date: {error}", where=f"{path}:{line}", allowed="YYYY-MM-DD") from error
    except RecursionError:
        raise InputError("nested too deeply", where=path) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from error
    return _mapping(document, path, "the document")


def _line_of_false_date(text: str) -> int | None:
    """Line of the first scalar that has the form of a date and is none, or None where there is no such thing."""
    for number, line in enumerate(text.splitlines(), start=1):
        for year, month, day in re.findall(r"(?<!\d)(\d{4})-(\d\d?)-(\d\d?)(?!\d)", line):
            try:
                date(int(year), int(month), int(day))
            except ValueError:
                return number
    return None


def parse(model: type[M], data: dict[str, Any], where: str) -> M:
    """`data` as `model`. Raises InputError for the first thing wrong: its path, what it is, what is allowed."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _first_mistake(error, model, where) from None


def _first_mistake(error: ValidationError, model: type[BaseModel], where: str) -> InputError:
    # An unknown key is told first: it is usually the misspelling that also left a required key missing.
    first = min(error.errors(), key=lambda mistake: mistake["type"] != "extra_forbidden")
    if first["type"] == "extra_forbidden":
        *parents, key = first["loc"]
        place, (owner, *_) = _walk(model, tuple(parents))
        return InputError(f"unknown key {_dotted(*place, key)!r}", where=where, allowed=", ".join(owner.model_fields))
    place, owners = _walk(model, first["loc"])
    if first["type"] == "missing":
        return InputError(f"{_dotted(*place)!r} is missing", where=where)
    if first["type"] == "union_tag_not_found":
        kinds = (repr(kind) for owner in owners for kind in _kinds(owner))
        return InputError(f"{_dotted(*place, 'kind')!r} is missing", where=where, allowed=", ".join(kinds))
    if first["type"] == "union_tag_invalid":
        tag, expected = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        return InputError(f"{_dotted(*place, 'kind')} = {tag!r}", where=where, allowed=expected)
    given = shorten(repr(first["input"]), 100, placeholder=" ...")
    allowed = _A_MAPPING if first["type"] in _NO_MAPPING else _sentence(first["msg"])
    return InputError(f"{_dotted(*place)} = {given}", where=where, allowed=allowed)


def _walk(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[int | str], list[type[BaseModel]]]:
    """`loc` as the user wrote it, without pydantic's union tags, and the models that may stand there."""
    place: list[int | str] = []
    candidates = [model]
    for part in loc:
        owners = [c for c in candidates if part in c.model_fields]
        if owners:
            candidates = _models_in(owners[0].model_fields[str(part)].annotation) or owners
        tagged = [c for c in candidates if part in _kinds(c)]
        if tagged and not owners:
            candidates = tagged
        else:
            place.append(part)
    return place, candidates


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    """What `kind` may say to mean `model`."""
    return get_args(getattr(model.model_fields.get("kind"), "annotation", None))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _dotted(*parts: int | str) -> str:
    return ".".join(str(part) for part in parts)


def _sentence(message: str) -> str:
    """Pydantic's message as it reads after "allowed:"."""
    message, _, _ = message.partition(", unable to ")
    return message.removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("a valid ")


def parse_sets(sets: tuple[str, ...]) -> dict[str, Any]:
    """The mapping that `a.b=value` settings write; later ones win. Raises InputError for one of another form."""
    tree: dict[str, Any] = {}
    for text in sorted(sets, key=_kinds_first):
        path, equals, value = text.partition("=")
        if not equals or not path or not all(path.split(".")):
            raise InputError(f"{text!r}", where="--set", allowed="a.b=value")
        try:
            leaf = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InputError(f"{text!r} has a value that is not YAML", where="--set", allowed="a.b=value") from error
        tree = merge(tree, _with_bounds(nested(path, leaf)))
    return tree


def _kinds_first(text: str) -> tuple[bool, int]:
    """Sorts settings so that a `kind`, of the outer section before the inner, does not undo what was set beside it."""
    path = text.partition("=")[0]
    is_kind = path.endswith(".kind")
    return (not is_kind, path.count(".") if is_kind else 0)


def _mapping(value: Any, path: Path, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{place} is {type(value).__name__}", where=path, allowed=_A_MAPPING)
    return value


def _refuse_duplicates(specs: tuple[Spec, ...], path: Path) -> None:
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two specs are named {name!r}", where=path, allowed="a name once")
