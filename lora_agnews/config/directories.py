"""Check directories that the user gives: those of runs, before anything is created in them, and of own experiments."""

import os
import shutil
import tempfile
from pathlib import Path

from lora_agnews.errors import UserError

RUN_BYTES = 64 << 20  # four checkpoints with the moments of 1,000,000 parameters, the adapter, logs and pictures


def check_directory(key: str, folder: str) -> None:
    """Check that runs can be written in the directory that a key names, which need not exist yet.

    Raises: UserError, with the remedy.
    """
    if not folder:
        raise UserError(f"{key}=: give a directory, for example {key}=runs/mine")
    path = Path(folder).expanduser().absolute()
    nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
        disk = shutil.disk_usage(nearest)
    except OSError as error:
        problem = f"{nearest} is not a directory in which files can be written ({error.strerror})"
    else:
        if not disk.total or disk.free >= RUN_BYTES:  # some network file systems do not know their size
            return
        problem = f"the disk of {nearest} has {disk.free >> 20} MB left, and a run takes up to {RUN_BYTES >> 20} MB"
    remedy = "free some space there" if key == "resume" else f"choose another: {key}=DIRECTORY"
    raise UserError(f"{key}={folder}: {problem}; {remedy}")


def check_subdirectory(name: str) -> None:
    """Raises: UserError, if the directory of a run would not be inside that of its sweep."""
    parts = Path(os.path.normpath(name)).parts if name else ()
    if not parts or Path(name).is_absolute() or parts[0] == "..":
        raise UserError(
            f"hydra.sweep.subdir={name}: must be inside the directory of the sweep, for example "
            "'hydra.sweep.subdir=r${model.lora.r}'"
        )


def check_config_dir(folder: str, shipped: Path) -> Path:
    """Return the directory of --config-dir as an absolute path.

    Raises: UserError, if there is no experiment or study in it, or one that has the name of a shipped file, which Hydra
    would take instead.
    """
    path = Path(folder).expanduser().absolute()
    if not path.is_dir():
        raise UserError(f"--config-dir={folder}: no such directory")
    files = [file.relative_to(path) for file in sorted(path.glob("*/*.yaml"))]
    if not files:
        raise UserError(
            f"--config-dir={folder}: has no experiment/NAME.yaml or study/NAME.yaml; give the directory that contains "
            "experiment/ or study/"
        )
    for file in files:
        if (shipped / file).is_file():
            raise UserError(f"--config-dir={folder}: {file} has the name of a shipped file; give it another name")
    return path
