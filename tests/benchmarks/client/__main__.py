"""How far clients are from the truth of their server, and what they cost: ours, and a loop that only reads.

    python tests/benchmarks/client [--quick] [--rounds N] [--json FILE] [SCENARIO ...]

The server runs on one core and the client on another; it tells when it read each request and wrote each token, and that
is what clients are held to. Where both clients are measured they take turns. Where the machine has other work, root can
put `chrt -r 1` before the command: both processes then go first.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from clients import ClientError
from scenarios import SCENARIOS, Setting
from table import render


def main() -> int:
    options = _options()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("one core: the server and the client need one each", file=sys.stderr)
        return 3
    setting = Setting(client_core=cores[1], server_core=cores[0], quick=options.quick, rounds=options.rounds)
    measured: dict[str, Any] = {}
    for name in options.scenarios or SCENARIOS:
        began = time.monotonic()
        try:
            measured[name] = _plain(SCENARIOS[name](setting))
        except ClientError as error:
            print(f"{name}: left out: {error}", file=sys.stderr, flush=True)
        else:
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(f"\n{render(measured)}")
    if options.json is not None:
        options.json.write_text(json.dumps({"quick": options.quick, "rounds": options.rounds, **measured}, indent=1))
    return 0 if len(measured) == len(options.scenarios or SCENARIOS) else 3


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="client", description="Hold clients to the truth of their server.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; all if none")
    parser.add_argument("--quick", action="store_true", help="fewer requests: under a minute")
    parser.add_argument("--rounds", type=int, default=1, help="how often each client has its turn")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured there")
    options = parser.parse_args()
    if options.rounds < 1 or not set(options.scenarios) <= set(SCENARIOS):
        parser.error(f"rounds is 1 or more, a scenario is one of {', '.join(SCENARIOS)}")
    return options


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return [_plain(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and not before the servers are ended
    sys.exit(main())
