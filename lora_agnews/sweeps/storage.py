"""Optuna's side of a study: the storage that processes share, the pruners, and how a dimension is suggested."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from lora_agnews.config.choices import Pruner
from lora_agnews.config.scripts import install_extra
from lora_agnews.errors import UserError
from lora_agnews.sweeps.space import Dimension

JOURNAL = "journal:"
HEARTBEAT_SECONDS = 5  # between two signs of life of a running trial
GRACE_SECONDS = 20  # without a sign of life, after which other processes take a trial over
OTHER_STORAGE = f"write storage=postgresql+psycopg://USER@HOST/NAME with {install_extra('postgres')}, or leave it out"
ATTEMPTS = 3  # to open the storage, a second apart
PRUNERS: dict[Pruner, Callable[[], optuna.pruners.BasePruner]] = {
    Pruner.NONE: optuna.pruners.NopPruner,
    Pruner.MEDIAN: optuna.pruners.MedianPruner,
    Pruner.HYPERBAND: optuna.pruners.HyperbandPruner,
}


def journal_file(storage: str | None) -> Path | None:
    """Return the file of storage=journal:FILE, None for another storage. Raises: UserError, if it can't be one."""
    if storage is None or not storage.startswith(JOURNAL):
        return None
    path = Path(storage.removeprefix(JOURNAL)).expanduser().absolute()
    if path.is_dir() or not path.parent.is_dir():
        reason = "is a directory" if path.is_dir() else "its directory does not exist"
        raise UserError(f"storage={storage}: {reason}; give a file in a directory that all machines share")
    return path


def open_storage(url: str) -> BaseStorage:
    """Open the storage of a study. Raises: RuntimeError, without the password of the URL, if it can't be opened."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    journal = journal_file(url)
    if journal:
        # The lock that NFS supports since version 3. It is taken from a process that holds it for 30 seconds.
        return JournalStorage(JournalFileBackend(str(journal), JournalFileOpenLock(str(journal))))
    for attempt in range(ATTEMPTS):
        try:
            return RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None,
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
            )
        except (SQLAlchemyError, ImportError) as error:  # two processes may create its tables at the same time
            if attempt == ATTEMPTS - 1 or isinstance(error, (ImportError, ArgumentError)):
                raise RuntimeError(_describe(url, error)) from error
            time.sleep(1)
    raise AssertionError


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turn an error of the storage in the block into one message, however Optuna has wrapped it.

    Raises: RuntimeError, without the password of the URL.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, SQLAlchemyError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise RuntimeError(_describe(url, cause)) from error


def _describe(url: str, error: Exception) -> str:
    """Say what is wrong with a storage, and the remedy."""
    reason = str(getattr(error, "orig", error)).splitlines()[0]
    if isinstance(error, ArgumentError):
        return f"storage: no such storage ({reason}); {OTHER_STORAGE}"
    parsed = make_url(url)
    if parsed.drivername == "sqlite":
        if "malformed" in reason or "not a database" in reason:
            remedy = "delete it: the same command finds the finished runs again"
            return f"{parsed.database}: damaged ({reason}); {remedy}"
        if "full" in reason or "I/O error" in reason:
            return f"{parsed.database}: can't be written ({reason}); free some space and start the same command again"
    return f"{parsed.render_as_string()}: no such storage ({reason}); {OTHER_STORAGE}"


def suggest_value(trial: optuna.Trial, dimension: Dimension) -> Any:
    """Ask the study's sampler for a value."""
    if dimension.choices:
        return trial.suggest_categorical(dimension.key, dimension.choices)
    if dimension.whole:
        return trial.suggest_int(dimension.key, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(dimension.key, dimension.low, dimension.high, log=dimension.log)
