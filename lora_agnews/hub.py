"""Fetch files from the Hugging Face hub and upload to it, with one clear error for everything that can go wrong."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import enable_progress_bars, tqdm

from lora_agnews.errors import FetchError

SECONDS_TO_ANSWER = 4  # a hub that has not answered by then counts as unreachable
EXPORTED = ["adapter_*", "config.json", "model.onnx", "model.safetensors", "tokenizer*"]
LOG_IN = "log in with a token that may write there: hf auth login, or HF_TOKEN"
NETWORK_ERRORS = (httpx2.HTTPError, OSError)
T = TypeVar("T")


class Unreachable(Exception):
    """The hub does not answer, or offline mode is on."""


@dataclass(frozen=True)
class Snapshot:
    """A local folder with files of a hub repository at one commit."""

    folder: Path
    commit: str


def find_commit(repo: str, kind: str, revision: str | None) -> str:
    """Ask the hub which commit a branch or tag of a repository is. `kind`: model or dataset; `revision` None: main.

    Raises: Unreachable; FetchError, naming the reason, if there is no such repository or revision.
    """
    try:
        info = _with_timeout(
            lambda: HfApi().repo_info(repo, repo_type=kind, revision=revision, timeout=SECONDS_TO_ANSWER)
        )
    except RevisionNotFoundError as error:
        raise FetchError(repo, kind, f"it has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise FetchError(repo, kind, "the hub has no such repository, or it is private") from error
    except HFValidationError as error:
        raise FetchError(repo, kind, "this is not a valid name of the hub; write owner/name") from error
    except NETWORK_ERRORS as error:  # OSError: offline mode, and any answer that is not clear
        raise Unreachable(f"the hub can't be reached ({type(error).__name__})") from error
    return str(info.sha)


def cached_commit(repo: str, kind: str, revision: str) -> str | None:
    """Return the commit that a branch or tag was when it was fetched last. None: the cache does not know it."""
    try:
        return Path(snapshot_download(repo, repo_type=kind, revision=revision, local_files_only=True)).name
    except OSError:
        return None


def fetch(repo: str, patterns: list[str], revision: str | None = None) -> Snapshot:
    """Fetch the files of a model of the hub that match the patterns. Cached files are reused.

    The hub is asked for the current commit. If it does not answer, the commit that was fetched last is used.
    Raises: FetchError, naming repository and reason, if neither the hub nor the cache has all files.
    """
    unreachable = ""
    try:
        find_commit(repo, "model", revision)
    except Unreachable as error:
        unreachable = f"{error} and the cache lacks it"
    show_downloads()
    try:
        # Pass the revision, not its commit: only then does the cache remember the commit of a branch.
        folder = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=patterns,
            local_files_only=bool(unreachable),
            tqdm_class=_Bar,
        )
    except NETWORK_ERRORS as error:
        raise FetchError(repo, "model", unreachable or broken_off(error)) from error
    return Snapshot(Path(folder), Path(folder).name)


def show_downloads() -> None:
    """Enable the progress bars of downloads, which transformers disables together with its own."""
    enable_progress_bars("huggingface_hub")


def broken_off(error: Exception) -> str:
    """Describe a download that failed although the hub had answered."""
    return f"the download broke off ({type(error).__name__}: {error})".splitlines()[0]


def push(folder: Path, repo: str, private: bool, not_pushed: str) -> str:
    """Upload a folder as a model, with the token of `hf auth login` or HF_TOKEN, and return its address.

    The repository is created if needed. In an existing one, the files of an earlier export are replaced. `not_pushed`
    names a file that is not uploaded. Raises: RuntimeError, naming repository and reason.
    """
    try:
        made = HfApi().create_repo(repo, private=private or None, exist_ok=True)  # None: as the owner has set it
        HfApi().upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            commit_message="Upload from lora_agnews",
            ignore_patterns=[not_pushed],
            delete_patterns=EXPORTED,
        )
    except HFValidationError as error:
        raise RuntimeError(f"can't push to {repo}: a name on the hub looks like owner/name") from error
    except LocalTokenNotFoundError as error:
        raise RuntimeError(f"can't push to {repo}: {LOG_IN}") from error
    except HfHubHTTPError as error:
        refused = error.response is not None and error.response.status_code in (401, 403)
        why = f"the hub refuses; {LOG_IN}" if refused else str(error).splitlines()[0]
        raise RuntimeError(f"can't push to {repo}: {why}") from error
    except NETWORK_ERRORS as error:
        raise RuntimeError(f"can't push to {repo}: the hub can't be reached ({type(error).__name__})") from error
    return str(made)


class _Bar(tqdm):  # type: ignore[type-arg]
    """The hub's progress bar, which disappears when it is done, so that a cached download leaves no line."""

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **{**options, "leave": False})  # type: ignore[no-untyped-call]


def _with_timeout(ask: Callable[[], T]) -> T:
    """Return the answer or raise TimeoutError. HTTP's own time-out restarts for each address and excludes DNS."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:
            answer.set_exception(error)

    Thread(target=work, daemon=True).start()
    return answer.result(SECONDS_TO_ANSWER)
