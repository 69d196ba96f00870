"""The command line of train.py is checked before Hydra creates anything."""

from pathlib import Path

import pytest
import yaml

from lora_agnews.config.command_line import check_command_line
from lora_agnews.config.compose import compose_config
from lora_agnews.errors import UserError


@pytest.fixture
def run_to_resume(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(compose_config(["model=tiny"]).to_dict()))
    return tmp_path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--unknown"], r"unrecognized arguments: --unknown; see python train\.py --help"),
        (["--experiment", "quickstart"], r"unrecognized arguments: --experiment"),
        (["hydra.run.dir="], "hydra.run.dir=: give a directory, for example hydra.run.dir=runs/mine"),
        (["-m", "hydra.sweep.dir=/dev/null/x"], "hydra.sweep.dir=/dev/null/x: .* choose another"),
        (["++hydra.run.dir=/dev/null/x"], "hydra.run.dir=/dev/null/x: .* choose another"),
        (["hydra.run.dir=${nothing}"], "^hydra.run.dir: Interpolation key 'nothing' not found$"),
        (["-m", "hydra.sweep.subdir=../../x"], "hydra.sweep.subdir=../../x: must be inside the directory of the sweep"),
        (["-m", "model.name=a,/b", "hydra.sweep.subdir=${model.name}"], "hydra.sweep.subdir=/b: must be inside"),
        (["--config-name=sweep"], "--config-name=sweep: a run begins with conf/train.yaml; leave it out"),
        (["--cfg", "everything"], r"invalid choice: 'everything'.*python train\.py --help"),
        (["lora.r=1,2"], r"lora\.r=1,2: several values need -m"),
        (["-m", "trainer.devices=2"], "trainer.devices=2: a run of a sweep uses one device; leave it out"),
        (["-m", "trainer.num_nodes=2"], "trainer.num_nodes=2: a run of a sweep uses one device; leave it out"),
        (["-m", "debug=fast,profile"], "debug=fast: a debug run is never ranked, so it can't be in a sweep"),
        (["study=rank"], "study=rank: sweep.py runs studies: python sweep.py study=rank"),
        (["model=bert"], "model=bert: must be one of .*; any other encoder: model.name=HUB_ID or model.name=FOLDER"),
        (["lora.rr=1"], r"no key lora\.rr"),
        (["-m", "lora.r=1,2,0"], r"model\.lora\.r=0: must be"),
        (["resume=nowhere"], "resume=nowhere: not a run directory"),
    ],
    ids=str,
)
def test_a_bad_line_is_refused(line: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_command_line(line)


def test_a_working_directory_in_which_no_run_fits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UserError, match=r"hydra\.run\.dir=runs: .*runs is not a directory"):
        check_command_line([])
    with pytest.raises(UserError, match=r"hydra\.sweep\.dir=runs: .*runs is not a directory"):
        check_command_line(["-m", "lora.r=1,2"])
    for flags in (["--help"], ["--cfg", "job", "hydra.run.dir=runs/x"], ["--info"]):
        check_command_line(flags)  # which create nothing


@pytest.mark.parametrize("more", [["-m"], ["hydra.mode=MULTIRUN"], ["--cfg", "job"]], ids=str)
def test_one_run_is_resumed_with_its_own_configuration(run_to_resume: Path, more: list[str]) -> None:
    with pytest.raises(UserError, match="resume continues one run, with its own configuration; leave out -m and --cfg"):
        check_command_line([f"resume={run_to_resume}", *more])


def test_overrides_beside_resume_are_checked_against_the_saved_configuration(run_to_resume: Path) -> None:
    check_command_line([f"resume={run_to_resume}", "trainer.max_epochs=9"])
    with pytest.raises(UserError, match=r"model\.lora\.r=2: .* began with 1"):
        check_command_line([f"resume={run_to_resume}", "lora.r=2"])


def test_helps_of_hydra_need_no_valid_overrides() -> None:
    check_command_line(["--hydra-help", "lora.rr=1"])
    with pytest.raises(UserError, match="no key"):
        check_command_line(["--help", "lora.rr=1"])


def test_directories_may_be_named_after_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_command_line(["hydra.run.dir=runs/${hydra:runtime.choices.model}-${model.lora.r}"])
    check_command_line(["-m", "lora.r=1,2", "hydra.sweep.subdir=${hydra.job.num}-r${model.lora.r}"])
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_not_continued_where_nothing_can_be_written(
    run_to_resume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lora_agnews.config.directories.RUN_BYTES", 1 << 60)
    with pytest.raises(UserError, match=r"resume=.* and a run takes up to .*; free some space there"):
        check_command_line([f"resume={run_to_resume}"])


def test_experiments_of_the_user_are_known(own_files: str) -> None:
    check_command_line(["--config-dir", own_files, "-m", "experiment=mine,short"])
    with pytest.raises(UserError, match=r"experiment=mne: .*did you mean mine\?"):
        check_command_line(["--config-dir", own_files, "experiment=mne"])
    with pytest.raises(UserError, match="--config-dir=nowhere: no such directory"):
        check_command_line(["--config-dir", "nowhere", "experiment=mine"])
