"""The tokens a chat template puts around a user's message, so that a model answers instead of going on."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from bench.core.errors import InputError

_SENTINEL = "neobench-user-message"
_ANY_DAY = datetime.date(2025, 1, 1)


@dataclass(frozen=True)
class ChatFraming:
    """What stands before and after the user's message. Both are part of a prompt's token count."""

    head: tuple[int, ...]
    tail: tuple[int, ...]

    def fits(self, prompt_tokens: int) -> bool:
        """Whether a prompt of this many tokens has room for the framing and a message of one token or more."""
        return prompt_tokens > len(self.head) + len(self.tail)

    def around(self, ids: list[int]) -> list[int]:
        """`ids` with its first and last tokens replaced by the framing: the same length."""
        return [*self.head, *ids[len(self.head) : len(ids) - len(self.tail)], *self.tail]


def load_framing(folder: Path, tokenizer: Tokenizer) -> ChatFraming | None:
    """The framing of the model in `folder`, or None where it has no chat template.

    The template is `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`. Raises InputError where it
    cannot be rendered.
    """
    config = _tokenizer_config(folder)
    template = _template(folder, config)
    if template is None:
        return None
    halves = _render(template, config, folder).split(_SENTINEL)
    if len(halves) != 2:
        raise InputError(
            f"the chat template shows the user's message {len(halves) - 1} times", where=folder, allowed="once"
        )
    head, tail = (tokenizer.encode(half, add_special_tokens=False).ids for half in halves)
    return ChatFraming(tuple(head), tuple(tail))


def _tokenizer_config(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return {}
    try:
        config = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error}", where=path, allowed="a tokenizer's configuration") from error
    if not isinstance(config, dict):
        raise InputError(f"a {type(config).__name__}", where=path, allowed="a JSON object")
    return config


def _template(folder: Path, config: dict[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        return _text(path)
    template = config.get("chat_template")
    if isinstance(template, list):  # Several templates by name: the one for plain chat is called default.
        template = next((entry.get("template") for entry in template if entry.get("name") == "default"), None)
    if template is not None and not isinstance(template, str):
        raise InputError(f"chat_template is a {type(template).__name__}", where=folder, allowed="a Jinja template")
    return template


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", where=path, allowed="UTF-8 text") from error


def _render(template: str, config: dict[str, Any], folder: Path) -> str:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    # Templates that print today's date get a fixed one: prompts must not differ from day to day.
    environment.globals["strftime_now"] = _ANY_DAY.strftime
    try:
        return environment.from_string(template).render(
            messages=[{"role": "user", "content": _SENTINEL}],
            add_generation_prompt=True,
            bos_token=_token_text(config.get("bos_token")),
            eos_token=_token_text(config.get("eos_token")),
        )
    except TemplateError as error:
        raise InputError(f"the chat template cannot be rendered: {error}", where=folder) from error


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _token_text(token: str | dict[str, Any] | None) -> str:
    """A special token as configurations write it: its text, or an object that has it as `content`."""
    return str(token["content"]) if isinstance(token, dict) else token or ""
