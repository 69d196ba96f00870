"""Files from the Hugging Face hub, or a clear word on what could not be fetched. Models and data sets both come this way."""

from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, IncompleteSnapshotError, OfflineModeIsEnabled, RepositoryNotFoundError

SECONDS_TO_ANSWER = 4  # a hub that has not answered by then counts as unreachable


@dataclass(frozen=True)
class Snapshot:
    """A local folder with files of a hub repository, at the commit it was fetched at."""

    folder: Path
    commit: str


def fetch(repo: str, kind: str, patterns: list[str], revision: str | None = None) -> Snapshot:
    """Files of a hub repository (`kind`: model or dataset) that match, from the cache where they are there already.

    The hub is asked which commit is current; without an answer the cached one is taken.
    Raises: RuntimeError, naming repository and reason, if neither hub nor cache has all of them.
    """
    commit = revision
    try:
        commit = HfApi().repo_info(repo, repo_type=kind, revision=revision, timeout=SECONDS_TO_ANSWER).sha
    except RepositoryNotFoundError as error:
        raise RuntimeError(_cannot(repo, kind, "the hub has no such repository, or it is private")) from error
    except (httpx2.HTTPError, HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        reached, reason = False, type(error).__name__
    else:
        reached, reason = True, ""
    try:
        folder = snapshot_download(
            repo, repo_type=kind, revision=commit, allow_patterns=patterns, local_files_only=not reached
        )
    except (httpx2.HTTPError, HfHubHTTPError, IncompleteSnapshotError, OSError, ValueError) as error:
        why = reason or f"{type(error).__name__}: {error}".splitlines()[0]
        raise RuntimeError(_cannot(repo, kind, f"the hub can't be reached ({why}) and the cache lacks it")) from error
    return Snapshot(Path(folder), Path(folder).name)


def _cannot(repo: str, kind: str, why: str) -> str:
    return (
        f"could not fetch the {kind} {repo}: {why}.\n"
        "Two ways out without the hub:\n"
        "  python train.py experiment=quickstart                             the shipped model and data\n"
        "  python train.py model.name=/local/dir data.train_file=train.csv   your own copies"
    )
