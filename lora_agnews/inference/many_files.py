"""Classify many Parquet files: one output for each, complete or absent, so that a restart does what is missing."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lora_agnews.data.parquet_files import count_rows, read_ids, read_note, table_writer
from lora_agnews.data.source import read_texts
from lora_agnews.errors import UserError
from lora_agnews.files.atomic import atomic_writer, check_output, checked_write
from lora_agnews.inference.calibration import hash_adapter
from lora_agnews.inference.classifier import Classifier, Run
from lora_agnews.inference.submission import columns
from lora_agnews.labels import LABELS


@dataclass(frozen=True)
class Part:
    """A file of texts, the file of its predictions, and the note about their origin that is stored there."""

    source: Path
    output: Path
    rows: int
    text_column: str
    full: bool
    note: dict[str, Any]


def plan_parts(
    runs: Sequence[Run], pattern: str, folder: Path, text_column: str, full: bool, half: bool
) -> tuple[list[Part], int]:
    """Return the parts that are missing in the output folder, and the number of those that are there.

    Outputs lie below the folder as their inputs do below the fixed part of the pattern. Writes nothing.
    Raises: UserError, if no file matches or one can't be used, or if the folder has other files or other predictions.
    """
    check_output(folder)
    root, sources = _find_sources(pattern, folder.resolve())
    made_with: dict[str, Any] = {"runs": [[hash_adapter(run.folder), run.temperature] for run in runs]}
    made_with |= {"--text-column": text_column, "--full": full, "--half": half}
    parts = []
    for source in sources:
        rows, state = count_rows(source, text_column), source.stat()
        note = {"made_with": made_with, "bytes": state.st_size, "modified": state.st_mtime_ns}
        output = folder.resolve() / source.relative_to(root)
        parts.append(Part(source, output, rows, text_column, full, note))
    done = _check_folder(folder, {part.output: part for part in parts}, made_with)
    return [part for part in parts if part.output not in done], len(done)


def predict_part(classifier: Classifier, part: Part) -> None:
    """Classify one file. Raises: UserError, for a bad row or an output that can't be written; then there is none."""
    names = columns(part.full)
    with checked_write(part.output):
        part.output.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic_writer(part.output) as stream,
            table_writer(stream.buffer, names, part.source, part.note) as write,
        ):
            ids = read_ids(part.source)
            for texts, probabilities in classifier.stream(read_texts(part.source, part.text_column)):
                labels = probabilities.argmax(1)
                values = [list(islice(ids, len(texts))), labels, texts, [LABELS[label] for label in labels]]
                values += list(probabilities.T)
                write(dict(zip(names, values, strict=False)))


def _find_sources(pattern: str, folder: Path) -> tuple[Path, list[Path]]:
    """Return the directory in which the pattern begins to vary, and the files that match, both absolute."""
    path = Path(pattern).expanduser().absolute()
    fixed = path.parts[:-1]
    varying = next((i for i, part in enumerate(fixed) if glob.has_magic(part)), len(fixed))
    root = Path(*fixed[:varying])
    found = [path] if path.is_file() else sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
    if not found or (found == [path] and path.is_dir()):
        wanted = f"{pattern}/*.parquet" if path.is_dir() else "a pattern in quotes, such as 'DIR/*.parquet'"
        raise UserError(f"{pattern}: no file matches; give {wanted}")
    other = next((each for each in found if each.suffix != ".parquet" or not each.is_file()), None)
    if other:
        raise UserError(f"{other}: --engine ray reads .parquet files; convert it, or leave out --engine ray")
    if folder == root.resolve() or (varying < len(fixed) and folder.is_relative_to(root.resolve())):
        raise UserError(f"--output={folder}: is where {pattern} looks for texts; choose a directory elsewhere")
    return root, found


def _check_folder(folder: Path, parts: dict[Path, Part], made_with: dict[str, Any]) -> set[Path]:
    """Return the outputs that are there. Hidden files are those of a process that was killed."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output={folder}: is a file; --engine ray writes a directory")
    there = {path for path in folder.resolve().rglob("*") if path.is_file() and not path.name.startswith(".")}
    for path in sorted(there):
        note = read_note(path)
        if note is None:
            raise UserError(f"{path}: is not a file of predictions; choose a new directory for --output")
        differing = [key for key, value in made_with.items() if note["made_with"].get(key) != value]
        if differing:
            raise UserError(f"{path}: was made with other {', '.join(differing)}; choose a new directory for --output")
        if path in parts and note != parts[path].note:
            raise UserError(
                f"{parts[path].source}: has changed since {path} was written; delete that file to have it made again"
            )
    return there & parts.keys()
