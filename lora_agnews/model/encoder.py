"""Find a pretrained encoder: a hub id, a local folder or the shipped `tiny`. Does not import torch, so it is fast."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from lora_agnews.errors import UserError
from lora_agnews.hub import fetch

SHIPPED = "tiny"
SMALL_FILES = ["config.json", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "spm.model"]


@dataclass(frozen=True)
class Encoder:
    """A pretrained encoder on this machine. `origin` identifies it, with the commit if it is from the hub."""

    name: str
    folder: Path
    origin: str
    revision: str | None = None


def weights_id(encoder: Encoder) -> str:
    """Identify the weights: by the commit on the hub, or by a hash of the files in a folder."""
    return encoder.origin if encoder.origin.startswith("hub:") else hash_weights(encoder.folder)


def hash_weights(folder: Path) -> str:
    """Return 16 hex digits for the safetensors files in a folder. Takes 0.1 s for 100 MB."""
    found = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def find_encoder(name: str, revision: str | None) -> Encoder:
    """Find an encoder. From the hub, only its config and tokenizer are fetched.

    Raises: UserError, if the folder contains no model, or for a revision of something that has none; RuntimeError, if
    the hub is needed and can't be reached.
    """
    folder = Path(name).expanduser()
    if revision and (name == SHIPPED or folder.is_dir()):
        raise UserError(f"model.revision={revision}: only models of the hub have revisions; leave it out")
    if name == SHIPPED:
        return Encoder(name, Path(str(files("lora_agnews.model") / SHIPPED)), "shipped:tiny")
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"model.name={name}: the folder has no config.json; it must be a transformers model")
        return Encoder(name, folder, f"folder:{folder.resolve()}")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"model.name={name}: no such folder")
    snapshot = fetch(name, SMALL_FILES, revision)
    return Encoder(name, snapshot.folder, f"hub:{name}@{snapshot.commit[:12]}", snapshot.commit)
