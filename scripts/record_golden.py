"""Record what kernels are compiled to, where it is not what was recorded.

    python scripts/record_golden.py --reason "why" [KERNEL ...]

For the version of Triton it runs with, that of `.venv` or of `.venv-aot`. The reason is kept beside each figure that
changed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neokernels import golden
from neokernels.aot import Compiled
from neokernels.cuda.catalogue import catalogue

FOLDER = Path(__file__).parents[1] / "tests" / "triton" / "golden"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help="all, if none is named")
    parser.add_argument("--reason", required=True, help="why the figures are what they are now")
    parser.add_argument("--allow-spills", action="store_true", help="accept the stack these kernels have")
    options = parser.parse_args()
    for name in options.kernels or catalogue():
        kernel, entries = catalogue()[name], {}
        before = golden.read(FOLDER, kernel)
        for example in golden.examples([kernel]):
            launches = figures(example.compile(), options.allow_spills)
            entry = before.get(example.key)
            if entry is None or entry["launches"] != launches:
                entry = {"reason": options.reason, "launches": launches}
            entries[example.key] = entry
            told = (f"{launch['registers']} registers, {launch['stack_bytes']} bytes of stack" for launch in launches)
            print(f"{example}: {'; '.join(told)}")
        file = golden.golden_file(FOLDER, kernel)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(entries, indent=1) + "\n")


def figures(compiled: Sequence[Compiled], allow_spills: bool) -> list[dict[str, Any]]:
    launches = golden.figures(compiled)
    for launch in launches:
        if allow_spills and launch["stack_bytes"]:
            launch["spills_allowed"] = launch["stack_bytes"]
    return launches


if __name__ == "__main__":
    main()
