"""`bench verify`: recompute every headline of a result from its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    results: Annotated[list[Path], typer.Argument(metavar="RESULT", help="Result folders, or folders of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Recompute every headline of a result from its tables, and check every digest. No GPU is needed.

    **Example:** `bench verify runs/`

    Exit code 1 means that something differs.
    """
    from bench.cli.output import print_json
    from bench.report.console import print_verification
    from bench.verification import verify_results

    reports = verify_results(results)
    if as_json:
        print_json(reports)
    else:
        print_verification(reports)
    return 0 if all(report.ok for report in reports) else 1
