"""Files from and to the Hugging Face hub, or a clear word on what could not be fetched or pushed."""

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

SECONDS_TO_ANSWER = 4  # a hub that has not answered by then counts as unreachable
WAYS_OUT = """\
Two ways out without the hub:
  python train.py experiment=quickstart                             the shipped model and data
  python train.py model.name=/local/dir data.train_file=train.csv   your own copies"""
EXPORTED = ["adapter_*", "config.json", "model.onnx", "model.safetensors", "tokenizer*"]
LOG_IN = "log in with a token that may write there: hf auth login, or HF_TOKEN"
T = TypeVar("T")


class Unfetched(RuntimeError):
    """Something of the hub's is not to be had; `what` and why, and in the message the ways out of a training run."""

    def __init__(self, repo: str, kind: str, why: str) -> None:
        self.what = f"could not fetch the {kind} {repo}: {why}"
        super().__init__(f"{self.what}.\n{WAYS_OUT}")


@dataclass(frozen=True)
class Snapshot:
    """A local folder with files of a hub repository, at the commit it was fetched at."""

    folder: Path
    commit: str


def fetch(repo: str, kind: str, patterns: list[str], revision: str | None = None) -> Snapshot:
    """Files of a hub repository (`kind`: model or dataset) that match, from the cache where they are there already.

    The hub is asked which commit is current; without an answer the one last fetched is taken.
    Raises: Unfetched, naming repository and reason, if neither hub nor cache has all of them.
    """
    unreachable = ""
    try:
        _in_time(lambda: HfApi().repo_info(repo, repo_type=kind, revision=revision, timeout=SECONDS_TO_ANSWER))
    except RevisionNotFoundError as error:
        raise Unfetched(repo, kind, f"it has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise Unfetched(repo, kind, "the hub has no such repository, or it is private") from error
    except HFValidationError as error:
        raise Unfetched(repo, kind, "the hub has no such names; they look like owner/name") from error
    except (httpx2.HTTPError, OSError) as error:  # OSError: offline mode and every answer but yes or no
        unreachable = f"the hub can't be reached ({type(error).__name__}) and the cache lacks it"
    enable_progress_bars("huggingface_hub")  # transformers takes the hub's with its own
    try:
        # Given the revision, not its commit: only so does the cache remember which commit a branch stood at.
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
        raise Unfetched(repo, kind, why) from error
    return Snapshot(Path(folder), Path(folder).name)


def push(folder: Path, repo: str, private: bool, not_pushed: str) -> str:
    """Uploads a folder as a model, with the token of `hf auth login` or HF_TOKEN, into a repository old or new.

    Of an old one, the files of another export go; `not_pushed` stays here: it names folders of this machine.

    Gives back its address. Raises: RuntimeError, naming repository and reason.
    """
    try:
        made = HfApi().create_repo(repo, private=private or None, exist_ok=True)  # else as the owner has set it
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
    """The hub's progress bar, gone when it is done: a run from the cache leaves no line of it."""

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **{**options, "leave": False})  # type: ignore[no-untyped-call]


def _in_time(ask: Callable[[], T]) -> T:
    """The answer, or TimeoutError. HTTP's own time-out starts anew for each address, and finding one has none."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:
            answer.set_exception(error)

    Thread(target=work, daemon=True).start()
    return answer.result(SECONDS_TO_ANSWER)
