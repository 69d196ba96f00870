"""Which process works on which trial of a study, so that others take over the trials of a process that is gone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import TrialState

from lora_agnews.files.locks import file_lock, is_locked, run_lock
from lora_agnews.sweeps.storage import journal_file


class Claims:
    """The trials of a study among the processes that share its storage.

    A database knows from heartbeats whether the process of a trial is alive. A journal has none, so there a process
    holds the lock of its trial until Optuna has stored the result. These locks lie beside the journal, because the
    machines that share it may have directories of their own.
    """

    def __init__(self, storage: str | None, study_folder: Path) -> None:
        self.journal = journal_file(storage)
        self.folder = Path(f"{self.journal}.locks") if self.journal else study_folder

    @contextmanager
    def turn(self) -> Iterator[Callable[[], None]]:
        """Wait until no other process is choosing a trial. Yields a function that ends the turn early."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self.folder / ".turn") as end:
            yield end

    @contextmanager
    def hold(self, number: int) -> Iterator[None]:
        """Claim a trial, within the turn in which it was created, until the block ends or the process is gone."""
        if self.journal is None:
            yield
            return
        folder = self._lock_of(number)
        folder.mkdir(exist_ok=True)
        with run_lock(folder):
            yield

    def take_over(self, study: optuna.Study) -> None:
        """Within a turn, let trials whose process is gone fail, and put their points back into the queue."""
        if self.journal is None:
            fail_stale_trials(study)
            return
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            if not is_locked(self._lock_of(trial.number)):
                study.tell(trial.number, state=TrialState.FAIL)
                RetryHeartbeatStaleTrialCallback()(study, trial)

    def _lock_of(self, number: int) -> Path:
        return self.folder / f"trial-{number}"
