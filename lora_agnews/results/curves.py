"""Read metrics.csv, which may be damaged: a curve without a few of its points is better than no report."""

import csv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a metrics.csv as column -> number or nothing, without those that are damaged."""
    with path.open(newline="", encoding="utf-8", errors="replace") as stream, suppress(csv.Error):
        for row in csv.DictReader(stream):
            if is_intact(row):
                yield row


def is_intact(row: dict[str, str]) -> bool:
    """Whether a row has a step, and numbers in all of its other columns."""
    try:
        int(row["step"])
        for value in row.values():
            float(value or 0)
    except (KeyError, TypeError, ValueError):
        return False
    return True
