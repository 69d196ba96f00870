"""Hydra's callback of a multirun: the names of the runs, the progress, and the exit status."""

import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

import lora_agnews.config.hydra_job  # noqa: F401  # registers the resolver run_name
from lora_agnews.config.compose import compose_config, hydra_initialized
from lora_agnews.data.source import Source, fingerprints, load_rows
from lora_agnews.errors import RunLocked
from lora_agnews.results.record import RunResult
from lora_agnews.sweeps import multirun
from lora_agnews.sweeps.multirun import MultirunCallback, run_in_multirun
from tests.files_of_rows import write_labelled
from tests.records import save_record


def hydra_values(*overrides: str) -> DictConfig:
    """The values that Hydra composes for train.py, its own included."""
    task = [line for line in overrides if not line.startswith("hydra.")]
    with hydra_initialized():
        values = compose("train", list(overrides), return_hydra_config=True)
    with open_dict(values):
        values.hydra.overrides.task = task
        values.hydra.overrides.hydra = [line for line in overrides if line not in task]
        values.hydra.mode = RunMode.MULTIRUN
    return values


def started(folder: Path, *overrides: str) -> tuple[MultirunCallback, list[str]]:
    """The callback after the start of a multirun, and the overrides that Hydra then uses for every job."""
    values = hydra_values("model=tiny", f"hydra.sweep.dir='{folder}'")
    with open_dict(values):
        values.hydra.overrides.task = list(overrides)
    callback = MultirunCallback()
    callback.on_multirun_start(values)
    return callback, OmegaConf.to_container(values.hydra.overrides.hydra, resolve=False)  # type: ignore[return-value]


def test_a_launcher_of_a_cluster_gets_an_absolute_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for launcher, folder in (("basic", "mine"), ("ray", str(tmp_path / "mine"))):
        values = hydra_values("model=tiny", "hydra.sweep.dir=mine")
        with open_dict(values):
            values.hydra.runtime.choices["hydra/launcher"] = launcher
        MultirunCallback().on_multirun_start(values)
        assert values.hydra.sweep.dir == folder


def test_runs_are_named_after_what_varies_and_a_hash_of_all_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback, overrides = started(tmp_path, "model=tiny", "lora.r=1,2", "seed=0,1")
    assert callback.progress.total == 4
    names = []
    for point in (["lora.r=1", "seed=0"], ["lora.r=2", "seed=0"]):
        values = hydra_values("model=tiny", *point, *overrides)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", values)
        names.append(values.hydra.sweep.subdir)
        assert values.hydra.sweep.dir == str(tmp_path)
    assert re.fullmatch(r"r=1,seed=0-[0-9a-f]{6}", names[0])
    assert re.fullmatch(r"r=2,seed=0-[0-9a-f]{6}", names[1])
    assert names[0][-6:] != names[1][-6:]


def test_the_name_of_a_run_does_not_change_between_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the same multirun would not find its runs again."""
    _, overrides = started(tmp_path, "model=tiny", "lora.r=1,2", "seed=0,1")
    values = hydra_values("model=tiny", "data=sample", "lora.r=1", "seed=0", *overrides)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", values)
    assert values.hydra.sweep.subdir == "r=1,seed=0-0f419b"


def test_names_that_the_user_gave_are_kept(tmp_path: Path) -> None:
    values = hydra_values("model=tiny", f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir='r${model.lora.r}'")
    with open_dict(values):
        values.hydra.overrides.task = ["lora.r=1,2"]
    MultirunCallback().on_multirun_start(values)
    given = OmegaConf.to_container(values.hydra.overrides.hydra)
    subdirs = [line for line in given if line.startswith("hydra.sweep.subdir")]  # type: ignore[union-attr]
    assert subdirs == ["hydra.sweep.subdir='r${model.lora.r}'"]


@pytest.mark.parametrize("name", ["mine", "r${model.lora.r}", "r${lora.r}-s0"])
def test_a_name_for_two_points_is_refused_before_the_first_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    values = hydra_values("model=tiny", f"hydra.sweep.dir={tmp_path / 'new'}", f"hydra.sweep.subdir='{name}'")
    with open_dict(values):
        values.hydra.overrides.task = ["model=tiny", "lora.r=1,2", "seed=0,1"]
    with pytest.raises(SystemExit) as status:
        MultirunCallback().on_multirun_start(values)
    assert status.value.code == 2
    assert "several points of the sweep would share the directory" in capfd.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_directory_with_the_run_of_another_configuration_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_record(tmp_path / "job-0", 0.9, "model=tiny", "lora.r=4")
    values = hydra_values("model=tiny", f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir='job-${hydra.job.num}'")
    with open_dict(values):
        values.hydra.overrides.task = ["model=tiny", "lora.r=1,2"]
    with pytest.raises(SystemExit):
        MultirunCallback().on_multirun_start(values)
    assert "has a run of another configuration, which is not overwritten" in capfd.readouterr().err


def test_rows_that_changed_since_a_run_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_labelled(tmp_path / "few.csv", 53)
    train, _ = load_rows(Source("files", str(tmp_path / "few.csv")))
    save_record(tmp_path / "sweep" / "a", 0.9, "model=tiny", f"data.train_file={tmp_path}/few.csv")
    record = RunResult.load(tmp_path / "sweep" / "a")
    record.data["fingerprints"] = fingerprints(train, None)
    record.save(tmp_path / "sweep" / "a")
    started(tmp_path / "sweep", "model=tiny", "lora.r=1,2")
    write_labelled(tmp_path / "few.csv", 54)
    with pytest.raises(SystemExit):
        started(tmp_path / "sweep", "model=tiny", "lora.r=1,2")
    error = capfd.readouterr().err
    assert "few.csv have changed since that run. Give the sweep a new directory" in " ".join(error.split())


def test_the_number_of_points_that_a_sweeper_draws_is_not_known(tmp_path: Path) -> None:
    callback, _ = started(tmp_path, "lora.r=interval(1,4)")
    assert callback.progress.total is None


def job(run_dir: Path, mode: RunMode) -> DictConfig:
    return OmegaConf.create({"hydra": {"mode": mode, "runtime": {"output_dir": str(run_dir)}}})


def test_a_job_of_a_multirun_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    callback, _ = started(tmp_path, "lora.r=1,2")
    save_record(tmp_path / "r=1", 0.5)
    callback.on_job_start(job(tmp_path / "r=1", RunMode.MULTIRUN))
    callback.on_job_end(job(tmp_path / "r=1", RunMode.MULTIRUN), None)  # type: ignore[arg-type]
    assert capfd.readouterr().out.startswith("[1/2] r=1  done before: finished, val accuracy 0.5000")


def test_a_single_run_has_no_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    callback = MultirunCallback()
    callback.on_job_start(job(tmp_path, RunMode.RUN))
    callback.on_job_end(job(tmp_path, RunMode.RUN), None)  # type: ignore[arg-type]
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("status", "expected"), [("finished", 0), ("failed", 1)])
def test_the_exit_status_of_a_multirun_says_if_a_run_failed(tmp_path: Path, status: str, expected: int) -> None:
    save_record(tmp_path / "r=1", 0.5, "logger.wandb=disabled", status=status)
    values = OmegaConf.create({"test": "winner", "hydra": {"sweep": {"dir": str(tmp_path)}}})
    with pytest.raises(SystemExit) as caught:
        MultirunCallback().on_multirun_end(values)
    assert caught.value.code == expected
    assert (tmp_path / "leaderboard.csv").exists()


@pytest.mark.parametrize(
    ("metrics", "value"), [({"val/accuracy": 0.5, "test/accuracy": 0.25}, 0.5), ({}, None)], ids=str
)
def test_a_point_returns_the_monitored_metric_for_hydras_sweepers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: dict[str, float], value: float | None
) -> None:
    config = compose_config(["model=tiny"])
    monkeypatch.setattr(multirun, "run_point", lambda *_: RunResult.of(config, metrics=metrics))
    assert run_in_multirun(config, tmp_path / "r=1", tmp_path) == value


def test_a_point_of_another_process_returns_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object) -> Any:
        raise RunLocked("x")

    monkeypatch.setattr(multirun, "run_point", locked)
    assert run_in_multirun(compose_config(["model=tiny"]), tmp_path / "r=1", tmp_path) is None


def test_ctrl_c_ranks_the_runs_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    save_record(tmp_path / "r=1", 0.5, "logger.wandb=disabled")
    monkeypatch.setattr(multirun, "run_point", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_in_multirun(compose_config(["model=tiny"]), tmp_path / "r=2", tmp_path)
    assert (tmp_path / "leaderboard.csv").exists()
