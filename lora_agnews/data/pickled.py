"""Read the course's file, a pickled `datasets.Dataset`, without running any code of the file.

A pickle is a program that may call whatever it names. This reader allows only what a data set in memory needs:
pyarrow's constructors of tables. Objects of `datasets` and numpy become inert placeholders, and any other name is
refused. Source: "Restricting Globals" in Python's documentation of pickle.
"""

import pickle
import pickletools
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
from pyarrow import compute, lib

BUILDERS = ("_reconstruct_table", "chunked_array", "field", "py_buffer", "schema", "type_for_alias")
MAX_OPCODES = 20_000  # a data set needs about 40 per chunk; much deeper nesting would crash Python itself
UNUSED = ("pyarrow.lib", "_reconstruct_record_batch")  # a second copy of the rows, for fast access
CONVERT = "python -c \"import pickle; pickle.load(open({name!r}, 'rb')).to_parquet({parquet!r})\""


class Inert:
    """Placeholder for an object of `datasets` or numpy: keeps its state and does nothing."""

    def __init__(self, *values: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def __setitem__(self, key: Any, value: Any) -> None:
        """Do nothing. `datasets.Features` is a dict, so its pickle sets items."""


class Dataset(Inert):
    """Placeholder for datasets.Dataset."""


class InMemoryTable(Inert):
    """Placeholder for datasets.table.InMemoryTable. `state["table"]` is a pyarrow.Table."""


KNOWN = {("datasets.arrow_dataset", "Dataset"): Dataset, ("datasets.table", "InMemoryTable"): InMemoryTable}


def _restore_array(data: Any) -> pyarrow.Array:
    """pyarrow.lib._restore_array for plain columns. The original crashes on missing buffers."""
    kind, length, nulls, offset, buffers, children, dictionary = data
    whole = len(buffers) == kind.num_buffers and all(isinstance(each, pyarrow.Buffer) for each in buffers[1:])
    if length == 0:
        return pyarrow.array([], kind)
    if not whole or children or dictionary is not None:
        raise pickle.UnpicklingError("it has a column that is neither text nor numbers")
    return pyarrow.Array.from_buffers(kind, length, buffers, nulls, offset)


def _restore_bytes(*data: Any) -> bytearray:
    """`bytearray` as pickle calls it. With a number, it would allocate that many bytes."""
    if any(isinstance(each, int) for each in data):
        raise pickle.UnpicklingError("it asks for memory without content")
    return bytearray(*data)


def _check_opcodes(stream: BinaryIO) -> None:
    """Raises: pickle.UnpicklingError, if there are too many opcodes, or one stores an object under a larger number."""
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        label = argument if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") else 0
        if max(number, label or 0) >= MAX_OPCODES:
            raise pickle.UnpicklingError("it is longer than a data set")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "pyarrow.lib" and name in BUILDERS:
            return getattr(lib, name)
        if (module, name) == ("pyarrow.lib", "_restore_array"):
            return _restore_array
        if (module, name) == ("builtins", "bytearray"):
            return _restore_bytes
        if module.partition(".")[0] in ("datasets", "numpy") or (module, name) == UNUSED:
            return KNOWN.get((module, name), Inert)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no data set needs")


def _table(found: Any) -> pyarrow.Table:
    if not isinstance(found, InMemoryTable):
        raise pickle.UnpicklingError("its rows are not in it, but in another file")
    found.state["table"].validate(full=True)
    return found.state["table"]


def read_pickled(path: Path) -> pyarrow.Table:
    """Return the rows of a `datasets.Dataset` that was pickled with its data.

    Raises: pickle.UnpicklingError, if the file is something else; the message has a command that converts it.
    """
    try:
        with path.open("rb") as stream:
            _check_opcodes(stream)
            stream.seek(0)
            found = _Unpickler(stream).load()
        if not isinstance(found, Dataset):
            raise pickle.UnpicklingError("it is no datasets.Dataset")
        table, chosen = _table(found.state["_data"]), found.state["_indices"]
        if table.num_rows > path.stat().st_size:
            raise pickle.UnpicklingError("it has more rows than bytes")
        if chosen is None:
            return table
        rows = _table(chosen).column(0)
        if compute.count_distinct(rows).as_py() < len(rows):  # one large row, a million times
            raise pickle.UnpicklingError("it repeats rows")
        return table.take(rows)
    except OSError:
        raise
    except Exception as error:  # a broken file can fail in any way
        ours = isinstance(error, pickle.UnpicklingError)
        command = CONVERT.format(name=path.name, parquet=f"{path.stem}.parquet")
        raise pickle.UnpicklingError(
            f"{error if ours else f'not the pickle of a data set ({error})'}.\nNothing but a datasets.Dataset is read "
            f"from a pickle. If you trust the file, convert it where it was made: {command}"
        ) from error
