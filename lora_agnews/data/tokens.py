"""Texts -> token ids, once: one flat array and where each row begins, kept on disk under a hash of what made them."""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import transformers
from transformers import PreTrainedTokenizerBase

from lora_agnews import console

ROWS_AT_ONCE = 1000  # the fast tokenizer works in parallel within a call
FILES = ("flat.npy", "offsets.npy")
CHECKSUM = "blake2b"


@dataclass(frozen=True)
class Tokens:
    """Row i is `flat[offsets[i] : offsets[i + 1]]`; flat (sum of lengths,) int32, offsets (rows + 1,) int64."""

    flat: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)


def load_tokens(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, cache_dir: Path) -> Tokens:
    """`tokenise`, or what it gave before for the same texts, tokenizer files and length, memory-mapped.

    Several processes may do so at once: each entry appears whole or not at all. A damaged one is made again, with a
    word on it.
    """
    entry = cache_dir / "tokens" / _key(texts, tokenizer, max_length)
    try:
        if entry.exists():
            return _read(entry, len(texts))
    except (OSError, EOFError, ValueError) as error:
        console.notice(f"{entry} is damaged ({error}): tokenising again")
        shutil.rmtree(entry, ignore_errors=True)
    tokens = tokenise(texts, tokenizer, max_length)
    try:
        _write(tokens, entry)
    except OSError as error:
        console.notice(f"data.cache_dir={cache_dir}: the tokens can't be kept there ({error.strerror})")
    return tokens


def tokenise(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, bar: bool = True) -> Tokens:
    """Token ids of every text with the model's special tokens, cut to `max_length`, never padded."""
    rows: list[np.ndarray] = []
    parts = range(0, len(texts), ROWS_AT_ONCE)
    for start in console.progress(parts, "tokenising") if bar else parts:
        ids = tokenizer(texts[start : start + ROWS_AT_ONCE], truncation=True, max_length=max_length)["input_ids"]
        rows += [np.asarray(row, dtype=np.int32) for row in ids]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Tokens(np.concatenate([np.empty(0, np.int32), *rows]), offsets)


def _key(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> str:
    """Of the texts, the whole tokenizer, the length, and the library that puts them together."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # what a call before this one left there; each call sets its own
    backend.no_padding()
    how = f"{max_length} {tokenizer.truncation_side} {transformers.__version__}"
    found = hashlib.blake2b(how.encode(), digest_size=16)
    found.update(backend.to_str().encode())
    for text in texts:
        written = text.encode("utf-8", "surrogatepass")
        found.update(len(written).to_bytes(8, "little") + written)
    return found.hexdigest()


def _read(entry: Path, num_rows: int) -> Tokens:
    """Raises: OSError, EOFError, ValueError, if the entry is not what `_write` wrote."""
    flat, offsets = (np.load(entry / name, mmap_mode="r") for name in FILES)
    if (entry / CHECKSUM).read_text() != _checksum(flat, offsets) or len(offsets) != num_rows + 1:
        raise ValueError("its checksum is another")
    return Tokens(flat, offsets)


def _write(tokens: Tokens, entry: Path) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".making-", dir=entry.parent))
    try:
        for name, array in zip(FILES, (tokens.flat, tokens.offsets), strict=True):
            np.save(made / name, array)
        (made / CHECKSUM).write_text(_checksum(tokens.flat, tokens.offsets))
        made.chmod(0o755)  # others may use it; mkdtemp lets nobody
        made.rename(entry)
    except OSError:
        if not entry.exists():  # else another process was first
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _checksum(*arrays: np.ndarray) -> str:
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(f"{array.dtype} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
