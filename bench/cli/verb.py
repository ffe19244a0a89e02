"""A command whose options that take one value are given once."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperOption


class Verb(TyperCommand):
    """Refuses an option that is given again, which would silently stand for the one before."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        *_, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in given:
            if isinstance(option, TyperOption) and _takes_one_value(option) and given.count(option) > 1:
                raise typer.BadParameter("given more than once", ctx=ctx, param=option)
        return super().parse_args(ctx, args)


def _takes_one_value(option: TyperOption) -> bool:
    return not (option.multiple or option.is_flag or option.count)
