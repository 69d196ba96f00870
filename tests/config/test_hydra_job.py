"""What train.py asks of Hydra: the directories of its runs, and the job that Hydra is running."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from lora_agnews.config import hydra_job
from lora_agnews.config.compose import compose_config, hydra_initialized
from lora_agnews.config.messages import quote
from lora_agnews.errors import UserError


def hydra_values(monkeypatch: pytest.MonkeyPatch, *overrides: str, **hydra: Any) -> DictConfig:
    """The values that Hydra composes for train.py, its own included, which HydraConfig then returns."""
    with hydra_initialized():
        values = compose("train", list(overrides), return_hydra_config=True)
    with open_dict(values):
        values.hydra.runtime.output_dir = hydra.get("output_dir", "???")
        values.hydra.mode = hydra.get("mode", RunMode.RUN)
        values.hydra.overrides.task = list(overrides)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", values)
    return values


def without_hydra(values: DictConfig) -> DictConfig:
    """What Hydra passes to train.py."""
    values = copy.deepcopy(values)
    with open_dict(values):
        del values["hydra"]
    return values


def saved_run(run_dir: Path, *overrides: str) -> Path:
    run_dir.mkdir(parents=True)
    (run_dir / "config.yaml").write_text(yaml.safe_dump(compose_config(overrides).to_dict()))
    return run_dir


def test_a_new_run_is_named_after_model_rank_seed_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    values = hydra_values(monkeypatch, "model=tiny", "lora.r=3", "seed=7")
    assert values.hydra.run.dir.startswith("runs/tiny-r3-seed7-2")
    assert hydra_values(monkeypatch, "model=tiny", "debug=fast").hydra.run.dir.startswith("runs/debug-fast-tiny-r1-")
    for name, shown in (("google/electra-base", "electra-base"), ("../my model", "my_model"), (".", Path.cwd().name)):
        found = hydra_values(monkeypatch, f'model.name="{name}"').hydra.run.dir
        assert found.startswith(f"runs/{shown}-r1-seed0-")


def test_the_processes_of_one_srun_name_the_same_new_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SLURM_JOB_ID", "12"), ("SLURM_STEP_ID", "3"), ("SLURM_NTASKS", "2")):
        monkeypatch.setenv(name, value)
    assert hydra_values(monkeypatch, "trainer.devices=2", "model=tiny").hydra.run.dir.endswith("-slurm12.3")
    assert "slurm" not in hydra_values(monkeypatch, "model=tiny").hydra.run.dir, "tasks with a run each"


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [(("TORCHELASTIC_RUN_ID", "none"), "trainer.devices=2"), (("NODE_RANK", "0"), "trainer.num_nodes=2")],
)
def test_torchrun_and_nodes_started_by_hand_need_a_directory(
    monkeypatch: pytest.MonkeyPatch, launcher: tuple[str, str], processes: str
) -> None:
    monkeypatch.setenv(*launcher)
    with pytest.raises(Exception, match=r"add hydra\.run\.dir=runs/NAME"):
        _ = hydra_values(monkeypatch, processes, "model=tiny").hydra.run.dir
    assert hydra_values(monkeypatch, processes, "hydra.run.dir=x").hydra.run.dir == "x"


def test_a_continued_run_has_its_own_directory_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = saved_run(tmp_path / 'a "b" ${c}', "model=tiny")
    values = hydra_values(monkeypatch, f"resume={quote(str(run_dir))}")
    assert values.hydra.run.dir == str(run_dir)


def test_a_run_of_a_multirun_is_named_after_the_hash_of_its_values_and_what_varies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = hydra_values(monkeypatch, "model=tiny", "lora.r=1", "seed=0")
    assert values.hydra.sweep.subdir.startswith("run-")
    with open_dict(values):
        values.hydra.sweep.subdir = "${run_name:lora.r,model,seed}"
    name, _, digits = values.hydra.sweep.subdir.rpartition("-")
    assert (name, len(digits)) == ("r=1,model=tiny,seed=0", 6)
    other = hydra_values(monkeypatch, "model=tiny", "lora.r=1", "seed=0", "optim.lr=1e-3")
    assert not other.hydra.sweep.subdir.endswith(digits)


def test_the_job_of_a_single_run_has_its_configuration_and_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = hydra_values(monkeypatch, "model=tiny", "lora.r=3", output_dir=str(tmp_path))
    with hydra_job.current_job(without_hydra(values)) as job:
        assert (job.config.model.lora.r, job.run_dir, job.sweep_dir) == (3, tmp_path, None)


def test_the_job_of_a_multirun_knows_the_directory_of_the_multirun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["model=tiny", f"hydra.sweep.dir={tmp_path}"]
    values = hydra_values(monkeypatch, *overrides, output_dir=str(tmp_path / "0"), mode=RunMode.MULTIRUN)
    with hydra_job.current_job(without_hydra(values)) as job:
        assert (job.run_dir, job.sweep_dir) == (tmp_path / "0", tmp_path)


def test_the_job_of_a_continued_run_has_the_saved_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = saved_run(tmp_path / "run", "model=tiny", "lora.r=5", "seed=9")
    values = hydra_values(monkeypatch, f"resume={run_dir}", "trainer.max_epochs=8", output_dir=str(run_dir))
    with hydra_job.current_job(without_hydra(values)) as job:
        assert (job.config.model.lora.r, job.config.seed, job.config.trainer.max_epochs) == (5, 9, 8)


def test_latest_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir = saved_run(tmp_path / "runs" / "first", "model=tiny", "lora.r=5")
    values = hydra_values(monkeypatch, "resume=latest", output_dir=str(run_dir))
    other = saved_run(tmp_path / "runs" / "other", "model=tiny", "lora.r=6")  # written after Hydra looked
    (other / "result.json").write_text("{}")
    with hydra_job.current_job(without_hydra(values)) as job:
        assert (job.config.model.lora.r, job.config.resume) == (5, str(run_dir))


@pytest.mark.parametrize(("kept", "expected"), [(None, []), ("result.json", ["result.json", "train.log"])])
def test_a_user_error_removes_the_directory_of_a_run_that_never_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str | None, expected: list[str]
) -> None:
    run_dir = tmp_path / "runs" / "run"
    run_dir.mkdir(parents=True)
    (run_dir / "train.log").touch()
    if kept:
        (run_dir / kept).touch()
    monkeypatch.chdir(tmp_path)
    values = hydra_values(monkeypatch, "model=tiny", output_dir=str(run_dir))

    def refuse() -> None:
        with hydra_job.current_job(without_hydra(values)):
            raise UserError("a bad row")

    with pytest.raises(UserError, match="a bad row"):
        refuse()
    left = sorted(path.name for path in run_dir.iterdir()) if run_dir.exists() else []
    assert left == expected
    assert (tmp_path / "runs").exists() == bool(kept)
