"""Rows of a run of several processes: one process reads the files, and the others read what it leaves in the cache."""

import hashlib
from contextlib import ExitStack, suppress
from pathlib import Path

import pyarrow
from pyarrow import feather

from lora_agnews.data.source import Rows, Source, load_rows
from lora_agnews.files.atomic import write_atomically
from lora_agnews.files.locks import LOCK_FILE, file_lock

TRAIN, TEST = "train.arrow", "test.arrow"


def load_rows_once(source: Source, cache_dir: Path) -> tuple[Rows, Rows | None]:
    """Load rows like `load_rows`. If several processes do it at once, one reads the files and the others wait.

    An entry of the cache belongs to the files as they are: their paths, sizes and times of change. Data sets of the hub
    are shared by the cache of `datasets`. The shipped rows are few, and every process reads them.
    """
    if source.source != "files":
        return load_rows(source)
    entry: Path | None = None
    with ExitStack() as stack:
        with suppress(OSError):  # `load_rows` reports a missing file, `load_tokens` a cache that can't be written
            folder = cache_dir / "rows" / _key(source)
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(file_lock(folder / LOCK_FILE))
            entry = folder
        if entry and (entry / TRAIN).exists():
            with suppress(OSError, ValueError, KeyError):  # damaged: it is written again
                return _read(entry / TRAIN), _read(entry / TEST) if source.test_file else None
        train, test = load_rows(source)
        if entry:
            with suppress(OSError):
                if test:
                    _write(test, entry / TEST)
                _write(train, entry / TRAIN)
        return train, test


def _key(source: Source) -> str:
    """Return the name of the cache entry. Raises: OSError, if a file is missing."""
    paths = [Path(file).expanduser().absolute() for file in (source.train_file, source.test_file) if file]
    found = [(str(path), path.stat()) for path in paths]
    files = [(path, about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns) for path, about in found]
    return hashlib.blake2b(repr((files, source.columns)).encode(), digest_size=16).hexdigest()


def _read(path: Path) -> Rows:
    """Raises: OSError, ValueError, KeyError, if the file is not what `_write` wrote."""
    table = feather.read_table(path)
    return Rows(table["text"].to_pylist(), table["label"].to_pylist(), table.schema.metadata[b"origin"].decode())


def _write(rows: Rows, path: Path) -> None:
    table = pyarrow.table({"text": rows.texts, "label": rows.labels}).replace_schema_metadata({"origin": rows.origin})
    stream = pyarrow.BufferOutputStream()
    feather.write_feather(table, stream)
    write_atomically(path, stream.getvalue().to_pybytes())
