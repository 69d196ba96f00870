"""Files that try to run code, to exhaust the memory or to crash the reader, by their names."""

import gzip
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
from pyarrow import parquet

from tests.data.test_pickled import Evil, bad_pickles
from tests.files_of_rows import PICKLES

BOMB = 3_000_000_000  # bytes that a file has when it is unpacked
YAML_BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
Writer = Callable[[Path], object]


def write_gzip(path: Path, unit: bytes = b"a", head: bytes = b"text,label\n") -> None:
    """Write a gzip file of a few MB that unpacks to BOMB bytes."""
    part = unit * ((1 << 24) // len(unit))
    path.write_bytes(gzip.compress(head) + gzip.compress(part, 1) * (BOMB // len(part)))


def write_parquet(path: Path) -> None:
    """Write one column whose only value has 300 MB, in a dictionary that all of its rows share."""
    values = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 1000, pyarrow.int32()), ["a" * 300_000_000])
    parquet.write_table(pyarrow.table({"text": values}), path, compression="zstd")


def pickles(proof: Path) -> dict[str, bytes]:
    """Return pickles that must neither run code nor ask for much memory."""
    good = (PICKLES / "datasets-5.2.pkl").read_bytes()
    code = f"open({str(proof)!r}, 'w')"
    more = {
        "exec": pickle.dumps(Evil(exec, code)),
        "getattr": pickle.dumps(Evil(getattr, "", "format")),
        "import": pickle.dumps(Evil(__import__, "os")),
        "compile": pickle.dumps(Evil(compile, code, "x", "exec")),
        "popen": pickle.dumps(Evil(os.popen, f"touch {proof}")),
        "unlink": pickle.dumps(Evil(Path.unlink, proof.parent / "keep")),
        "instance": f"(S'touch {proof}'\nios\nsystem\n.".encode(),
        "object": f"(cos\nsystem\nS'touch {proof}'\no.".encode(),
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"Pid\n.",
        "bytearray": pickle.dumps(Evil(bytearray, BOMB)),
        "range": pickle.dumps(Evil(list, range(10**9))),
        "memo": b"\x80\x04N" + pickle.LONG_BINPUT + (1 << 31).to_bytes(4, "little") + b".",
        "frame": b"\x80\x04\x95" + (1 << 40).to_bytes(8, "little") + b"N.",
        "length": b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x.",
        "flipped": bytes(byte ^ (0xFF if number % 97 == 0 else 0) for number, byte in enumerate(good)),
        "numbers": b"\x80\x04" + b"K\x01" * 3_000_000 + b".",
        "integer": b"I" + b"9" * 1_000_000 + b"\n.",
    }
    return bad_pickles(proof) | more


def files_of_rows(proof: Path) -> dict[str, Writer]:
    """Return name -> a function that writes a hostile file for `predict` or `evaluate`."""
    found: dict[str, Writer] = {
        f"{name}.pkl": lambda path, content=content: path.write_bytes(content)
        for name, content in pickles(proof).items()
    }
    return found | {
        "line.csv.gz": write_gzip,
        "line.jsonl.gz": lambda path: write_gzip(path, head=b'{"text": "'),
        "list.json.gz": lambda path: write_gzip(path, b'{"text":"a"},', head=b"["),
        "line.txt.gz": lambda path: write_gzip(path, head=b""),
        "zeros.tsv.gz": lambda path: write_gzip(path, b"\0"),
        "quote.csv.gz": lambda path: write_gzip(path, b"a\n", head=b'text\n"'),
        "columns.csv.gz": lambda path: write_gzip(path, b"a,", head=b""),
        "deep.json": lambda path: path.write_bytes(b"[" * 5_000_000),
        "deep.jsonl": lambda path: path.write_bytes(b'{"a":' * 1_000_000),
        "digits.json": lambda path: path.write_bytes(b"[" + b"9" * 1_000_000 + b"]"),
        "keys.jsonl": lambda path: path.write_text(json.dumps({str(i): i for i in range(300_000)})),
        "huge.parquet": write_parquet,
        "header.parquet": lambda path: path.write_bytes(b"PAR1" + b"\xff" * 64 + struct.pack("<I", 1 << 31) + b"PAR1"),
        "cut.parquet": lambda path: path.write_bytes(b"PAR1"),
        "surrogates.csv": lambda path: path.write_bytes(b"text\n" + b"\xed\xa0\x80" * 100_000),
    }


def write_safetensors(path: Path, header: bytes, size: int | None = None) -> None:
    path.write_bytes(struct.pack("<Q", len(header) if size is None else size) + header + b"\0" * 64)


def write_archive(path: Path, content: bytes) -> None:
    """Write a checkpoint, which is a zip archive, with this pickle in it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")


def files_of_runs(proof: Path) -> dict[str, tuple[str, Writer]]:
    """Return name -> the file of a run directory that is replaced, and the function that writes it."""
    code = f"!!python/object/apply:os.system ['touch {proof}']"
    adapter, model = "adapter/adapter_config.json", "adapter/adapter_model.safetensors"
    evil = pickle.dumps(Evil(os.system, f"touch {proof}"))
    tensor = {"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    return {
        "yaml_code": ("config.yaml", lambda path: path.write_text(f"seed: {code}\n")),
        "yaml_bomb": ("config.yaml", lambda path: path.write_text(YAML_BOMB)),
        "yaml_deep": ("config.yaml", lambda path: path.write_text("[" * 100_000)),
        "yaml_large": ("config.yaml", lambda path: path.write_text("a: " + "b" * 50_000_000)),
        "yaml_environment": ("config.yaml", lambda path: path.write_text("seed: ${oc.env:HOME}\n")),
        "record_deep": ("result.json", lambda path: path.write_text("[" * 5_000_000)),
        "record_digits": ("result.json", lambda path: path.write_text('{"seed": ' + "9" * 100_000 + "}")),
        "adapter_deep": (adapter, lambda path: path.write_text('{"a":' * 1_000_000)),
        "adapter_pattern": (adapter, lambda path: path.write_text(json.dumps({"target_modules": "(a+)+$("}))),
        "adapter_code": (adapter, lambda path: path.write_text(json.dumps({"auto_mapping": {"parent_library": "os"}}))),
        "tensors_header": (model, lambda path: write_safetensors(path, b"{}", 1 << 60)),
        "tensors_size": (model, lambda path: write_safetensors(path, json.dumps(tensor).encode())),
        "tensors_pickle": (model, lambda path: path.write_bytes(evil)),
        "checkpoint_pickle": ("checkpoints/last.ckpt", lambda path: path.write_bytes(evil)),
        "checkpoint_archive": ("checkpoints/last.ckpt", lambda path: write_archive(path, evil)),
        "checkpoint_bomb": ("checkpoints/last.ckpt", lambda path: write_archive(path, b"\0" * 1_000_000_000)),
    }
