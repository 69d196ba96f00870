"""A trial belongs to the process that claims it, and to others when that process is gone."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from lora_agnews.sweeps.claims import Claims
from lora_agnews.sweeps.storage import open_storage


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"journal:{tmp_path / 'study.journal'}"


@pytest.fixture
def study(storage: str) -> optuna.Study:
    """A study with two points in its queue."""
    study = optuna.create_study(study_name="mine", storage=open_storage(storage))
    for r in (1, 2):
        study.enqueue_trial({"lora.r": r})
    return study


def states(study: optuna.Study) -> list[tuple[str, int]]:
    return [(trial.state.name, trial.system_attrs["fixed_params"]["lora.r"]) for trial in study.get_trials()]


def test_a_trial_that_is_claimed_is_left_alone(study: optuna.Study, storage: str, tmp_path: Path) -> None:
    claims = Claims(storage, tmp_path)
    with claims.turn():
        trial = study.ask()
        with claims.hold(trial.number):
            Claims(storage, tmp_path / "elsewhere").take_over(study)
            assert states(study) == [("RUNNING", 1), ("WAITING", 2)]
            study.tell(trial, 0.5)
        claims.take_over(study)
    assert states(study) == [("COMPLETE", 1), ("WAITING", 2)]


def claim_and_wait(storage: str, folder: Path, claimed: Any) -> None:
    """The process of a study that takes a trial and is killed."""
    claims = Claims(storage, folder)
    study = optuna.load_study(study_name="mine", storage=open_storage(storage))
    with claims.turn() as end_turn, claims.hold(study.ask().number):
        end_turn()
        claimed.set()
        multiprocessing.Event().wait()


@pytest.fixture
def other(study: optuna.Study, storage: str, tmp_path: Path) -> Iterator[multiprocessing.process.BaseProcess]:
    """Another process, which has claimed the first trial."""
    context = multiprocessing.get_context("spawn")
    claimed = context.Event()
    process = context.Process(target=claim_and_wait, args=(storage, tmp_path / "other", claimed))
    process.start()
    assert claimed.wait(60)
    yield process
    process.kill()
    process.join()


def test_the_trial_of_a_process_that_is_killed_is_taken_over_at_once(
    study: optuna.Study, storage: str, tmp_path: Path, other: multiprocessing.process.BaseProcess
) -> None:
    claims = Claims(storage, tmp_path)
    with claims.turn():
        claims.take_over(study)
    assert states(study) == [("RUNNING", 1), ("WAITING", 2)]
    other.kill()
    other.join()
    with claims.turn():
        claims.take_over(study)
        claims.take_over(study)
    assert states(study) == [("FAIL", 1), ("WAITING", 2), ("WAITING", 1)], "its point is queued once more"


def test_the_locks_of_a_journal_lie_beside_it_and_others_in_the_study(storage: str, tmp_path: Path) -> None:
    with Claims(storage, tmp_path / "mine").turn():
        assert (tmp_path / "study.journal.locks").is_dir()
    with Claims(None, tmp_path / "mine").turn(), Claims(None, tmp_path / "mine").hold(3):
        assert [path.name for path in (tmp_path / "mine").iterdir()] == [".turn"]
