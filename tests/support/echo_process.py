"""A child process that sends back the first message it is sent."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

if __name__ == "__main__":
    connection = Connection(int(sys.argv[1]))
    connection.send(connection.recv())
