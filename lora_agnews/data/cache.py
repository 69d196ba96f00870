"""The directory of data.cache_dir: what is in it, and how to empty it."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from lora_agnews.data.states import ABOUT

KINDS = ("tokens", "prefix", "rows")


@dataclass(frozen=True)
class Entry:
    """Tokens or hidden states of a set of texts, or the rows of files."""

    what: str
    size: int  # bytes
    path: Path


def default_cache() -> Path:
    """Return the directory that is used if data.cache_dir is null."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lora_agnews"


def list_cache(folder: Path) -> list[Entry]:
    """List the entries of a cache, the largest first."""
    found = [Entry(kind, _size(path), path) for kind in ("tokens", "rows") for path in (folder / kind).glob("[!.]*")]
    for path in (folder / "prefix").rglob(ABOUT):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            what = "{encoder}, layers below {layer}, {rows:,} rows, {precision}".format(**about)
        except (ValueError, LookupError, TypeError):
            what = f"{ABOUT} is damaged"
        found.append(Entry(what, _size(path.parent), path.parent))
    return sorted(found, key=lambda entry: -entry.size)


def clear_cache(folder: Path) -> int:
    """Delete everything that this program keeps in the directory, and return how many bytes that were."""
    size = sum(_size(folder / kind) for kind in KINDS)
    for kind in KINDS:
        if (folder / kind).exists():
            shutil.rmtree(folder / kind)
    return size


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
