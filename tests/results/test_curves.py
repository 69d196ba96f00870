"""Of a damaged metrics.csv, the rows that are intact are read."""

from pathlib import Path

import pytest

from lora_agnews.results.curves import read_rows


@pytest.mark.parametrize(
    ("content", "steps"),
    [
        (b"step,loss\n1,0.5\n2,\n3,nan\n", ["1", "2", "3"]),
        (b"step,loss\n1,0.5\n2,text\nthree,0.5\n4,0.5,0.5\n5,0.4\n6", ["1", "5", "6"]),
        (b"step,loss\n1,0.5\n\xff\x00,0.4\n3,0.3\n", ["1", "3"]),
        (b"[1, 2]\n", []),
        (b"", []),
    ],
)
def test_intact_rows_are_read(tmp_path: Path, content: bytes, steps: list[str]) -> None:
    (tmp_path / "metrics.csv").write_bytes(content)
    assert [row["step"] for row in read_rows(tmp_path / "metrics.csv")] == steps
