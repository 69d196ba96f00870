"""Checkpoint files: on the disk before they are renamed, linked without a copy, and checked by their checksums."""

import io
import os
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO


class SyncedCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint where it belongs and waits until it is on the disk. Lightning writes it in TMPDIR first."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a new file, through no link. Raises: OSError, if it exists or can't be written."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with Path(path).open("xb") as stream:
            stream.write(content.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())


def link_or_copy(source: Path, target: Path) -> None:
    """Give `target` the content of `source`, atomically. It is copied where the file system has no hard links."""
    unfinished = target.with_name(f".{target.name}")
    unfinished.unlink(missing_ok=True)
    try:
        os.link(source, unfinished)
    except OSError:
        shutil.copyfile(source, unfinished)
    unfinished.replace(target)


def is_intact(path: Path) -> bool:
    """Whether the checksums of a checkpoint match. It is a zip archive, in which PyTorch compresses nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
            return stored and archive.testzip() is None
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError):
        return False
