"""Token ids of texts: one flat array and the offset of each row, cached on disk under a hash of all inputs."""

import hashlib
import shutil
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import transformers
from transformers import PreTrainedTokenizerBase

from lora_agnews.files.locks import LOCK_FILE, file_lock
from lora_agnews.terminal import console

ROWS_PER_CALL = 1000  # the fast tokenizer works in parallel within a call
FILES = ("flat.npy", "offsets.npy")
CHECKSUM = "blake2b"


@dataclass(frozen=True)
class Tokens:
    """Row i is `flat[offsets[i] : offsets[i + 1]]`. Shapes: flat (sum of lengths,) int32, offsets (rows + 1,) int64."""

    flat: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def fingerprint(self) -> str:
        """Return a hash of the tokens of all rows."""
        return _checksum(self.flat, self.offsets)

    def select(self, rows: np.ndarray) -> "Tokens":
        """Return the tokens of these rows, which are sorted. Nothing is copied if they are all rows."""
        if len(rows) == len(self):
            return self
        parts = [self.flat[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        return Tokens(np.concatenate(parts), np.concatenate([[0], np.cumsum(self.lengths[rows])]))

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)


def load_tokens(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, cache_dir: Path) -> Tokens:
    """Return the tokens from the cache, memory-mapped, or tokenise the texts and store them there.

    An entry belongs to one set of texts, tokenizer files and maximum length. It appears complete or not at all. If
    several processes call this at once, one tokenises and the others wait. A damaged entry is computed again, with a
    note.
    """
    entry = cache_dir / "tokens" / _key(texts, tokenizer, max_length)
    with ExitStack() as stack:
        if not entry.exists():
            with suppress(OSError):  # `_write` reports a directory that can't be written
                entry.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(file_lock(entry.parent / LOCK_FILE))
        try:
            if entry.exists():
                return _read(entry, len(texts))
        except (OSError, EOFError, ValueError) as error:
            console.note(f"{entry} is damaged ({error}): tokenising again")
            shutil.rmtree(entry, ignore_errors=True)
        tokens = tokenise(texts, tokenizer, max_length)
        try:
            _write(tokens, entry)
        except OSError as error:
            console.note(f"data.cache_dir={cache_dir}: the tokens can't be kept there ({error.strerror})")
        return tokens


def tokenise(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, bar: bool = True) -> Tokens:
    """Return the token ids of every text, with special tokens, truncated to `max_length`, without padding."""
    rows: list[np.ndarray] = []
    parts = range(0, len(texts), ROWS_PER_CALL)
    for start in console.track_steps(parts, "tokenising") if bar else parts:
        ids = tokenizer(texts[start : start + ROWS_PER_CALL], truncation=True, max_length=max_length)["input_ids"]
        rows += [np.asarray(row, dtype=np.int32) for row in ids]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Tokens(np.concatenate([np.empty(0, np.int32), *rows]), offsets)


def _key(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> str:
    """Return the hash that names the cache entry: texts, tokenizer, maximum length and library version."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # an earlier call may have left its truncation setting; each call sets its own
    backend.no_padding()
    how = f"{max_length} {tokenizer.truncation_side} {transformers.__version__}"
    found = hashlib.blake2b(how.encode(), digest_size=16)
    found.update(backend.to_str().encode())
    for text in texts:
        written = text.encode("utf-8", "surrogatepass")
        found.update(len(written).to_bytes(8, "little") + written)
    return found.hexdigest()


def _read(entry: Path, num_rows: int) -> Tokens:
    """Read an entry. Raises: OSError, EOFError, ValueError, if it is not what `_write` wrote."""
    flat, offsets = (np.load(entry / name, mmap_mode="r") for name in FILES)
    if (entry / CHECKSUM).read_text() != _checksum(flat, offsets) or len(offsets) != num_rows + 1:
        raise ValueError("its checksum does not match")
    return Tokens(flat, offsets)


def _write(tokens: Tokens, entry: Path) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".making-", dir=entry.parent))
    try:
        for name, array in zip(FILES, (tokens.flat, tokens.offsets), strict=True):
            np.save(unfinished / name, array)
        (unfinished / CHECKSUM).write_text(_checksum(tokens.flat, tokens.offsets))
        unfinished.chmod(0o755)  # mkdtemp allows the owner only; other users may share the cache
        unfinished.rename(entry)
    except OSError:
        if not entry.exists():  # otherwise another process was first
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _checksum(*arrays: np.ndarray) -> str:
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(f"{array.dtype} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
