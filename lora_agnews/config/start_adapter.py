"""The adapter that a run starts from. `model.adapter=RUN_DIR` becomes RUN_DIR@HASH, which identifies its values."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_agnews.errors import UserError

ADAPTER, WEIGHTS = "adapter", "adapter_model.safetensors"


def identify_adapter(given: str) -> str:
    """Return RUN_DIR@HASH for a run directory. What has a hash is returned as it is, without a look at the directory.

    Raises: UserError, if there is no finished run, or if its adapter is damaged.
    """
    if re.fullmatch(r".+@[0-9a-f]{16}", given):
        return given
    run_dir = Path(given).expanduser()
    path = run_dir / ADAPTER / WEIGHTS
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"model.adapter={given}: not a run directory (no config.yaml); give one such as runs/NAME")
    if not path.is_file():
        raise UserError(f"model.adapter={given}: this run has not finished, so it has no adapter; continue it first")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            found = hash_tensors({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # no mapping
            stored = json.loads((file.metadata() or {})["lora_agnews"]).get("hash", found)  # version 0.1 has none
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError, SafetensorError) as error:
        raise UserError(f"model.adapter={given}: {path} can't be read as what a run saved ({error})") from error
    if found != stored:
        raise UserError(f"model.adapter={given}: {path} is damaged")
    return f"{given}@{found}"


def split_adapter(identified: str) -> tuple[Path, str]:
    """Return run directory and hash of what `identify_adapter` returned."""
    run_dir, _, found = identified.rpartition("@")
    return Path(run_dir).expanduser(), found


def hash_tensors(tensors: Mapping[str, Any]) -> str:
    """Return 16 hex digits of all values of numpy arrays, by name."""
    found = hashlib.blake2b(digest_size=8)
    for name in sorted(tensors):
        found.update(name.encode() + tensors[name].tobytes())
    return found.hexdigest()
