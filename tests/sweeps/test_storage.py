"""Optuna's storage is shared, and what cannot be opened is named without its password."""

from pathlib import Path

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from lora_agnews.config.choices import Pruner
from lora_agnews.errors import UserError
from lora_agnews.sweeps import storage
from lora_agnews.sweeps.space import parse_space
from lora_agnews.sweeps.storage import PRUNERS, open_storage, storage_errors, suggest_value


def test_a_storage_is_a_file_that_is_opened_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="mine", storage=open_storage(url))
    study.enqueue_trial({"lora.r": 4})
    again = optuna.load_study(study_name="mine", storage=open_storage(url))
    assert [trial.system_attrs["fixed_params"] for trial in again.trials] == [{"lora.r": 4}]


def test_a_journal_is_a_file_that_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = optuna.create_study(study_name="mine", storage=open_storage("journal:study.log"))
    study.enqueue_trial({"lora.r": 4})
    again = optuna.load_study(study_name="mine", storage=open_storage(f"journal:{tmp_path}/study.log"))
    assert [trial.system_attrs["fixed_params"] for trial in again.trials] == [{"lora.r": 4}]
    with pytest.raises(optuna.exceptions.DuplicatedStudyError):
        optuna.create_study(study_name="mine", storage=open_storage("journal:study.log"))


@pytest.mark.parametrize("name", ["", ".", "no/such/study.log"])
def test_a_journal_that_cannot_be_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"storage=journal:{name}: .*give a file in a directory that all"):
        open_storage(f"journal:{name}")
    assert list(tmp_path.iterdir()) == []


def test_processes_notice_within_half_a_minute_that_another_one_is_gone(tmp_path: Path) -> None:
    opened = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    assert isinstance(opened, optuna.storages.RDBStorage)
    assert opened.get_heartbeat_interval() == storage.HEARTBEAT_SECONDS < storage.GRACE_SECONDS / 3
    assert opened.grace_period == storage.GRACE_SECONDS <= 30


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "storage: no such storage"),
        ("sqlite:////no/such/folder/study.db", "unable to open database file"),
        ("nosql://me:secret@host/name", "no such storage"),
        ("postgresql+nodriver://me:secret@host/name", "no such storage"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: None)
    with pytest.raises(RuntimeError, match=message) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)
    assert "storage=postgresql+psycopg://USER@HOST/NAME" in str(caught.value)


@pytest.mark.parametrize("content", [b"nonsense" * 1000, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_file_can_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: None)
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(RuntimeError) as caught:
        open_storage(f"sqlite:///{tmp_path}/study.db")
    assert str(caught.value).startswith(f"{tmp_path}/study.db: damaged (")
    assert str(caught.value).endswith("); delete it: the same command finds the finished runs again")


def test_an_error_of_the_storage_is_one_message_however_it_is_wrapped(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="mine", storage=open_storage(url))
    content = bytearray((tmp_path / "study.db").read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(RuntimeError, match=r"study\.db: damaged \(.*malformed.*\); delete it"), storage_errors(url):
        study.optimize(lambda trial: 1.0, n_trials=1)


@pytest.mark.parametrize("error", [UserError("a value"), RuntimeError("a run"), KeyboardInterrupt()], ids=repr)
def test_other_errors_pass_through(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, storage_errors("sqlite:///study.db"):
        raise error
    assert caught.value is error


def test_a_full_disk_under_a_storage_is_named() -> None:
    full = OperationalError("INSERT", {}, Exception("database or disk is full"))
    message = (
        r"study\.db: can't be written \(database or disk is full\); free some space and start the same command again"
    )
    with pytest.raises(RuntimeError, match=message), storage_errors("sqlite:///study.db"):
        raise AssertionError from full


def test_values_are_suggested_from_choices_and_ranges() -> None:
    dimensions = parse_space(
        {"model.head": ["full", "lora"], "lora.r": {"low": 1, "high": 8}, "optim.lr": {"low": 1e-4, "high": 1e-2}}
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        head, r, lr = (suggest_value(trial, dimension) for dimension in dimensions)
        assert head in ("full", "lora")
        assert type(r) is int
        assert 1 <= r <= 8
        assert 1e-4 <= lr <= 1e-2
        assert trial.params == {"model.head": head, "lora.r": r, "optim.lr": lr}


def test_a_range_with_log_is_suggested_on_that_scale() -> None:
    (dimension,) = parse_space({"lora.r": {"low": 1, "high": 64, "log": True}})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [suggest_value(study.ask(), dimension) for _ in range(100)]
    assert sum(r <= 8 for r in drawn) > 35


@pytest.mark.parametrize("pruner", Pruner)
def test_every_pruner_can_be_built(pruner: Pruner) -> None:
    assert isinstance(PRUNERS[pruner](), optuna.pruners.BasePruner)
