"""neobench: GPU-inference benchmarking joined to dated offers. `bench.load` reads results into pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__version__ = "0.1.0"


def load_records(path: str | Path) -> pd.DataFrame:
    """Records at or below `path` as a table: one row a record, units in column names.

    Raises InputError when `path` holds no record.
    """
    from bench.results.frame import records_frame  # pandas is slow to import, and `bench --help` must not wait for it

    return records_frame(path)


load = load_records
