"""Read columns of a data set with the library `datasets`: from the Hugging Face hub, or from a save_to_disk folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_agnews.data.formats import check_columns
from lora_agnews.errors import FetchError, UserError
from lora_agnews.hub import NETWORK_ERRORS, Unreachable, broken_off, cached_commit, find_commit, show_downloads

if TYPE_CHECKING:
    from datasets import Dataset

SAVE = "Save it with the splits train and test, and give the folder: load_dataset(...).save_to_disk(FOLDER)"


@dataclass(frozen=True)
class OpenDataset:
    """The splits of a data set by their names. Their rows stay on the disk. `origin` has the commit, or the folder."""

    name: str
    splits: "dict[str, Dataset]"
    origin: str

    def columns(self, split: str, columns: tuple[str, str]) -> tuple[list[Any], list[Any]]:
        """Return the texts and labels of a split unchanged, except that labels of a `ClassLabel` become its names.

        Raises: UserError, if there is no such column.
        """
        table = self.splits[split]
        check_columns(columns, table.column_names, f"data.name={self.name}, split {split}")
        # [:] reads a column as a whole. Iterating over 120,000 rows takes 50 times as long.
        texts, labels = (table.with_format(None)[column][:] for column in columns)
        names = getattr(table.features[columns[1]], "names", None)
        if names is not None:  # -1 is a row without a label
            labels = [names[label] if label in range(len(names)) else -1 for label in labels]
        return texts, labels


def open_dataset(name: str, revision: str | None) -> OpenDataset:
    """Open a folder or, if there is none of this name, a data set of the hub at a branch, tag or commit.

    A folder has one data set, which is the split `train`, or several splits by their names.
    Raises: UserError, if it can't be used; FetchError, if the hub lacks it, or is needed and can't be reached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        found = _open_folder(folder, name, revision)
    elif name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"data.name={name}: no such folder")
    else:
        found = _open_hub(name, revision)
    if "train" not in found.splits:
        raise UserError(f"data.name={name}: has no split train; its splits are {', '.join(found.splits)}. {SAVE}")
    return found


def _open_folder(folder: Path, name: str, revision: str | None) -> OpenDataset:
    from datasets import Dataset, load_from_disk  # takes a second

    if revision:
        raise UserError(f"data.revision={revision}: data.name={name} is a folder, which has no revisions")
    try:
        found = load_from_disk(str(folder))
    except Exception as error:  # a folder of something else, or a damaged one, can fail in any way
        raise UserError(
            f"data.name={name}: not a folder that save_to_disk wrote ({_first_line(error)}). For a file of rows: "
            "data.train_file=FILE"
        ) from error
    return OpenDataset(name, {"train": found} if isinstance(found, Dataset) else dict(found), str(folder))


def _open_hub(name: str, revision: str | None) -> OpenDataset:
    """Open a data set of the hub, through the cache of `datasets`. Processes that need it at once prepare it once.

    The hub is asked first, because `datasets` would try for half a minute to reach it, and would then take whatever
    commit its cache has, even for another revision.
    """
    import datasets

    datasets.logging.set_verbosity_error()  # the record has the commit that was used
    commit, unreachable = None, ""
    if datasets.config.HF_HUB_OFFLINE:
        unreachable = "offline mode is on (HF_DATASETS_OFFLINE or HF_HUB_OFFLINE)"
    else:
        try:
            commit = find_commit(name, "dataset", revision)
        except Unreachable as error:
            unreachable = str(error)
    show_downloads()
    try:
        with _only_cache(bool(unreachable)):
            builder = datasets.load_dataset_builder(name, revision=revision)
            builder.download_and_prepare()
            splits = dict(builder.as_dataset())
    except Exception as error:  # the libraries of all formats raise whatever they raise
        cause = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else error
        if unreachable:
            raise FetchError(name, "dataset", f"{unreachable} and the cache lacks it") from error
        if isinstance(cause, NETWORK_ERRORS) and not isinstance(cause, FileNotFoundError):
            raise FetchError(name, "dataset", broken_off(cause)) from error
        raise UserError(f"data.name={name}: can't be loaded: {_first_line(cause)}. {SAVE}") from error
    if unreachable and revision:
        commit = cached_commit(name, "dataset", revision) or revision
    if builder.hash != (commit or builder.hash):
        why = unreachable or "the download broke off"
        raise FetchError(name, "dataset", f"{why}, and the cache has the commit {builder.hash}, not {commit}")
    return OpenDataset(name, splits, f"hub:{name}@{builder.hash[:12]}")


@contextmanager
def _only_cache(wanted: bool) -> Iterator[None]:
    """Let `datasets` work as with HF_DATASETS_OFFLINE=1, which it reads only once, when it is imported."""
    from datasets import config

    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = wanted
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
