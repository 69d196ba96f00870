"""metrics.csv and W&B are opened together and closed however the run ends."""

from pathlib import Path

import pytest
import wandb

from lora_agnews.config.sections import LoggerConfig
from lora_agnews.errors import UserError
from lora_agnews.training.tracking import open_tracking
from tests.wandb_runs import records, track


@pytest.mark.filterwarnings("ignore:Experiment logs directory .* is not empty")  # W&B's folder was made first
def test_a_run_that_raises_is_closed_and_marked_as_failed(tmp_path: Path, no_login: pytest.MonkeyPatch) -> None:
    def run_that_raises() -> None:
        with open_tracking(
            tmp_path, LoggerConfig("offline", "project", None, [], None, None, False), {"seed": 1}
        ) as tracking:
            for logger in tracking.loggers:
                logger.log_metrics({"val/accuracy": 0.5}, step=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_that_raises()
    assert wandb.run is None
    (read,) = records(tmp_path, "--summary")
    assert (read["state"], read["exit_code"]) == ("failed", 1)
    assert (read["config"], read["summary"]["val/accuracy"]) == ({"seed": 1}, 0.5)
    assert "val/accuracy" in (tmp_path / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("project", "environment", "used"),
    [("mine", "theirs", "mine"), (None, "theirs", "theirs"), (None, None, "lora-agnews")],
)
def test_the_environment_names_what_the_configuration_leaves_open(
    tmp_path: Path, no_login: pytest.MonkeyPatch, project: str | None, environment: str | None, used: str
) -> None:
    for name, value in (("WANDB_PROJECT", environment), ("WANDB_ENTITY", environment)):
        if value:
            no_login.setenv(name, value)
        else:
            no_login.delenv(name, raising=False)
    config = LoggerConfig(
        "offline", project, None, [], "us" if project else None, "my name" if project else None, False
    )
    with open_tracking(tmp_path / "run-1", config, {"debug": "fast"}) as tracking:
        run = tracking.wandb_run
        assert run.tags == ("debug-fast",)
        assert (run.project, run.entity or None) == (used, "us" if project else environment)
        assert run.name == ("my name" if project else "run-1")


def test_two_runs_of_one_process_are_two_runs(tmp_path: Path, no_login: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        track(tmp_path / name, "offline")
        assert len(list((tmp_path / name).glob("wandb/offline-run-*"))) == 1


def test_damaged_curves_are_found_before_a_wandb_run_is_opened(tmp_path: Path, no_login: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n1,0.5\n2,te")
    config = LoggerConfig("offline", "project", None, [], None, None, False)
    with pytest.raises(UserError, match=r"metrics\.csv: damaged"), open_tracking(tmp_path, config, {}, 2):
        pass
    assert wandb.run is None
    assert not (tmp_path / "wandb").exists()
