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
T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """A local folder with files of a hub repository at one commit."""

    folder: Path
    commit: str


def fetch(repo: str, kind: str, patterns: list[str], revision: str | None = None) -> Snapshot:
    """Fetch the files of a hub repository (`kind`: model or dataset) that match the patterns. Cached files are reused.

    The hub is asked for the current commit. If it does not answer, the commit that was fetched last is used.
    Raises: FetchError, naming repository and reason, if neither the hub nor the cache has all files.
    """
    unreachable = ""
    try:
        _with_timeout(lambda: HfApi().repo_info(repo, repo_type=kind, revision=revision, timeout=SECONDS_TO_ANSWER))
    except RevisionNotFoundError as error:
        raise FetchError(repo, kind, f"it has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise FetchError(repo, kind, "the hub has no such repository, or it is private") from error
    except HFValidationError as error:
        raise FetchError(repo, kind, "this is not a valid name of the hub; write owner/name") from error
    except (httpx2.HTTPError, OSError) as error:  # OSError: offline mode, and any answer that is not clear
        unreachable = f"the hub can't be reached ({type(error).__name__}) and the cache lacks it"
    enable_progress_bars("huggingface_hub")  # transformers disables them together with its own
    try:
        # Pass the revision, not its commit: only then does the cache remember the commit of a branch.
        folder = snapshot_download(
            repo,
            repo_type=kind,
            revision=revision,
            allow_patterns=patterns,
            local_files_only=bool(unreachable),
            tqdm_class=_Bar,
        )
    except (httpx2.HTTPError, OSError) as error:
        why = unreachable or f"the download broke off ({type(error).__name__}: {error})".splitlines()[0]
        raise FetchError(repo, kind, why) from error
    return Snapshot(Path(folder), Path(folder).name)


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
    except (httpx2.HTTPError, OSError) as error:
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
