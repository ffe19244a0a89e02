"""An option that takes one value is refused when it is given again; those that may be repeated are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from bench.cli.main import app
from bench.cli.verb import Verb


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("run", "smoke", "--out", "a", "--out", "b"), "--out"),
        (("run", "smoke", "--out", "a", "--json", "--json", "--out=a"), "--out"),
        (("serve", "--model", "tiny", "--model", "tiny"), "--model"),
        (("offers", "export-schema", "--out", "a", "--out", "b"), "--out"),
        (("traces", "show", "file", "--seed", "1", "--seed", "2"), "--seed"),
    ],
)
def test_what_is_given_again_is_refused(
    refusal: Callable[..., str], arguments: tuple[str, ...], option: str, no_result_left: object
) -> None:
    assert refusal(*arguments).startswith(f"bench: Invalid value for '{option}': given more than once (allowed: ")


def test_settings_may_be_repeated(refusal: Callable[..., str], no_result_left: object) -> None:
    assert "'a'" in refusal("run", "smoke", "--set", "a=1", "--set", "b=2")


def test_every_verb_with_options_of_one_value_refuses_so() -> None:
    for verb in verbs(typer.main.get_command(app)):
        values = [option for option in verb.params if isinstance(option, TyperOption) and not option.is_flag]
        assert isinstance(verb, Verb) or not values, verb.name


def verbs(command: object) -> Iterator[TyperCommand]:
    if isinstance(command, TyperGroup):
        for inner in command.commands.values():
            yield from verbs(inner)
    elif isinstance(command, TyperCommand):
        yield command
