"""lora_agnews.train: a run of train.py in the process of a notebook."""

import logging
from pathlib import Path

import pytest

import lora_agnews
from lora_agnews.errors import UserError
from lora_agnews.results.record import RunResult, Status
from tests.messages import check_message

SHORT = ["experiment=quickstart", "trainer.max_steps=3", "trainer.accelerator=cpu", "logger.wandb=disabled"]


def test_a_run_in_a_notebook_leaves_what_train_py_leaves(
    short_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger().level
    first, second = (lora_agnews.train([*short_run, "lora.r=2", f"seed={seed}"]) for seed in (0, 1))
    assert logging.getLogger().level == level, "that of the notebook"
    assert first.status == second.status == Status.FINISHED
    assert first.config["model"]["lora"]["r"] == 2
    folders = sorted((tmp_path / "runs").iterdir())
    assert [folder.name.rpartition("-seed")[0] for folder in folders] == ["tiny-r2", "tiny-r2"]
    assert RunResult.load(folders[0]) == first
    assert (folders[0] / "train.log").stat().st_size > 0
    assert lora_agnews.load_run(folders[0])(["Oil prices rise"])[0][0] in ("World", "Sports", "Business", "Sci/Tech")


def test_a_directory_can_be_named_and_a_run_continued(short_run: list[str], tmp_path: Path) -> None:
    run_dir = tmp_path / "mine"
    lora_agnews.train([*short_run, f"hydra.run.dir={run_dir}"])
    found = lora_agnews.train([f"resume={run_dir}", "trainer.max_epochs=3"])
    assert found.config["trainer"]["max_epochs"] == 3
    assert RunResult.load(run_dir) == found


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["lora.rr=2"], ["lora.rr=2", "did you mean"]),
        (["lora.r=0"], ["model.lora.r=0", "at least 1"]),
        (["lora.r=1,2"], ["lora.r=1,2"]),
        (["-m", "lora.r=1,2"], ["flags and sweeps need train.py"]),
        ([*SHORT, "data.train_file=none.csv"], ["data.train_file=none.csv", "no such file"]),
        ([*SHORT, "trainer.devices=2"], ["several devices", "use train.py"]),
        (["experiment=quickstart", "resume=nothing"], ["resume=nothing", "not a run directory"]),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_one_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        lora_agnews.train(overrides)
    check_message(str(caught.value), parts)
    assert not list(tmp_path.iterdir())
