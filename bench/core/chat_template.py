"""A model's chat template: what makes one text of the messages of a chat."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bench.core.errors import InputError
from bench.core.sessions import Effort, Message

_ANY_DAY = datetime.date(2025, 1, 1)
_SWITCHES = ("enable_thinking", "thinking")
"""Variables by which templates are told whether the model is to think at all."""


class _Generation(Extension):
    """Templates for training mark what the model is to say; here that is text like the rest."""

    tags = {"generation"}  # noqa: RUF012  # as the base class declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """The template in a model's folder: `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`."""

    def __init__(self, folder: Path, source: str, config: dict[str, Any]) -> None:
        """Raises InputError for a source that is no template."""
        self.folder = folder
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        environment.globals["raise_exception"] = _refuse
        # Templates that print today's date get a fixed one: prompts must not differ from day to day.
        environment.globals["strftime_now"] = _ANY_DAY.strftime
        try:
            self._reads = meta.find_undeclared_variables(environment.parse(source))
            self._template: Template = environment.from_string(source)
        except TemplateError as error:
            raise self._cannot_render(error) from error
        special = {name: _token_text(config.get(name)) for name in ("bos_token", "eos_token")}
        # As transformers calls it: some templates ask whether these are none and not whether there are any.
        self._given = {**special, "tools": None, "documents": None}

    @staticmethod
    def from_folder(folder: Path) -> ChatTemplate | None:
        """None for a model without one. Raises InputError where it cannot be read."""
        config = _tokenizer_config(folder)
        source = _source(folder, config)
        return None if source is None else ChatTemplate(folder, source, config)

    def render(
        self,
        messages: Sequence[Message],
        effort: Effort | None = None,
        *,
        switches: bool = True,
        thinking: bool | None = None,
    ) -> str:
        """The text that asks for the answer to `messages`.

        `effort` reaches a template that reads `reasoning_effort`; one that only knows a switch is told not to think
        where the effort is minimal, unless `switches` says that nobody would set it. `thinking` sets the switch
        whatever the effort is. Raises InputError where the template refuses.
        """
        asked: dict[str, Any] = {}
        if effort is not None:
            asked["reasoning_effort"] = effort
            asked |= {name: effort != "minimal" for name in _SWITCHES if switches}
        if thinking is not None:
            asked |= dict.fromkeys(_SWITCHES, thinking)
        try:
            return self._template.render(
                messages=[{"role": message.role, "content": message.text} for message in messages],
                add_generation_prompt=True,
                **self._given,
                **{name: value for name, value in asked.items() if name in self._reads},
            )
        except Exception as error:  # A template evaluates expressions of its own
            raise self._cannot_render(error) from error

    def _cannot_render(self, error: Exception) -> InputError:
        return InputError(f"the chat template cannot be rendered: {error}", where=self.folder)


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


def _source(folder: Path, config: dict[str, Any]) -> str | None:
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


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _token_text(token: str | dict[str, Any] | None) -> str:
    """A special token as configurations write it: its text, or an object that has it as `content`."""
    return str(token["content"]) if isinstance(token, dict) else token or ""
