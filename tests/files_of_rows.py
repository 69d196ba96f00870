"""Labelled and unlabelled rows as the contents of files, in every format."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from lora_agnews.data.source import Source, load_rows
from lora_agnews.labels import LABELS

NEWS = [  # class 1..4, title, description
    (1, "Talks resume", "Envoys met in Vienna, Geneva and Bonn."),
    (2, "Rovers 2, City 1", 'The coach said "finally",\nand then he left.'),
    (3, "", "Oil at \\$50 a barrel;\ttankers wait"),
    (4, "A phone for \U0001f469\u200d\U0001f680 and 火星", "caf\u00e9 \u2028 na\u00efve, 'quoted'"),
    (1, "Only a title ", ""),
]


TEXTS = [f"{title} {description}".strip() for _, title, description in NEWS]


CLASSES = [number - 1 for number, *_ in NEWS]


def canonical() -> bytes:
    """AG News' own format: every field in quotes, no header."""
    return written_csv([list(row) for row in NEWS], ",")


def table(labels: list[Any], delimiter: str = ",") -> bytes:
    """Columns text and label with a header, and a column that is of no interest."""
    rows = [["7", label, text] for text, label in zip(TEXTS, labels, strict=True)]
    return written_csv([["id", "label", "text"], *rows], delimiter)


def written_csv(rows: list[list[Any]], delimiter: str) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()


def records(labels: list[Any]) -> list[dict[str, Any]]:
    return [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)]


def in_parquet(labels: list[Any]) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pa.table({"label": labels, "text": TEXTS}), stream)
    return stream.getvalue()


NAMES = [LABELS[number] for number in CLASSES]


LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records(CLASSES)).encode()


SAME_ROWS: dict[str, bytes] = {
    "canonical.csv": canonical(),
    "canonical.csv.gz": gzip.compress(canonical()),
    "canonical.tsv": written_csv([list(row) for row in NEWS], "\t"),
    "numbers.csv": table(CLASSES),
    "names.csv": table(NAMES),
    "blank_lines.csv": b"\n".join([b"", table(CLASSES)])[1:] + b"\n\n",
    "byte_order_mark.csv": b"\xef\xbb\xbf" + table(CLASSES),
    "windows.csv": table(CLASSES).replace(b'"\n"', b'"\r\n"'),
    "table.tsv": table(CLASSES, "\t"),
    "table.tsv.gz": gzip.compress(table(NAMES, "\t")),
    "numbers.json": json.dumps(records(CLASSES)).encode(),
    "names.json.gz": gzip.compress(json.dumps(records(NAMES)).encode()),
    "numbers.jsonl": LINES,
    "blank_lines.jsonl": LINES.replace(b"}\n", b"}\n\n"),
    "names.jsonl.gz": gzip.compress("".join(json.dumps(record) + "\n" for record in records(NAMES)).encode()),
    "numbers.parquet": in_parquet(CLASSES),
    "names.parquet": in_parquet(NAMES),
}


PICKLES = Path(__file__).parent / "pickles"  # of the same rows, made with the named versions of datasets


ODD_TEXTS = [
    'Oil prices rise\nagain,\r\nexperts "say"',
    "",
    "   ",
    "A phone for \U0001f469\u200d\U0001f680 \u2028 火星\x0b\x1c",
    "nul\x00byte",
    "long " * 200_000,
    "last",
]


ONE_LINE = [text for text in ODD_TEXTS if "\n" not in text]


def texts_in(columns: dict[str, list[str]], name: str) -> bytes:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if name.endswith((".csv", ".tsv")):
        return written_csv(
            [list(columns), *(list(row.values()) for row in rows)], "," if name.endswith("csv") else "\t"
        )
    if name.endswith(".txt"):
        return "".join(f"{text}\n" for text in columns["text"]).encode()
    if name.endswith(".parquet"):
        stream = io.BytesIO()
        parquet.write_table(pa.table(columns), stream)
        return stream.getvalue()
    lines = [json.dumps(row) for row in rows]
    return ("\n".join(lines) if name.endswith("l") else f"[{','.join(lines)}]").encode()


PICKLED = ["Oil prices rise\nagain", 'The "Reds" won 3-1', "", "Ünïcode \U0001f600 火星"]


# Files: name, bytes, what the message must contain besides the name of the file.
GOOD = b"text,label\nsome news,0\nmore news,1\nother news,2\nlast news,3\n"


TEST_TEXTS = (load_rows(Source("sample"))[1] or pytest.fail("no test rows")).texts


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def write_lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def write_labelled(path: Path, rows_per_class: int) -> Path:
    """Write a small labelled CSV whose texts differ in length and tell their class by one word."""
    with path.open("w", newline="") as stream:
        file = csv.writer(stream)
        file.writerow(["text", "label"])
        for label, word in enumerate(("war", "goal", "shares", "chips")):
            file.writerows([f"{word} {'more ' * (i % 7)}{i}", label] for i in range(rows_per_class))
    return path
