"""Continuing a run: where it is, and what of its configuration may differ."""

import json
import os
from pathlib import Path

import pytest
import yaml

from lora_agnews.config.compose import compose_config
from lora_agnews.config.resume import find_run, resumed_config
from lora_agnews.errors import RunPruned, UserError

BEGAN = ["experiment=quickstart", "lora.r=2", "seed=5"]


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ([], None),
        (BEGAN, None),
        (["experiment=quickstart"], "model.lora.r=4"),
        (["trainer.max_epochs=9"], None),
        (["test=none"], None),
        (["trainer.max_epochs=1"], "trainer.max_epochs=1"),
        (["seed=0"], "seed=0"),
        (["model.lora.r=3"], "model.lora.r=3"),
        (["experiment=best"], "model.lora.r=8"),
        (["logger.wandb=online"], "logger.wandb=online"),
        (["model=roberta_base"], "model.name=FacebookAI/roberta-base"),
        (["data=hub"], "data.source=hub"),
    ],
)
def test_only_max_epochs_may_grow(tmp_path: Path, overrides: list[str], key: str | None) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(compose_config(BEGAN).to_dict()))
    line = [f"resume={tmp_path}", *overrides]
    if key is None:
        found = resumed_config(str(tmp_path), line)
        assert (found.seed, found.model.lora.r) == (5, 2)
        assert found.trainer.max_epochs == (9 if "trainer.max_epochs=9" in overrides else 2)
    else:
        with pytest.raises(UserError, match=rf"{key}.*only trainer\.max_epochs may grow"):
            resumed_config(str(tmp_path), line)


@pytest.mark.parametrize("name", ["nothing", "checkpoints/last.ckpt", "config.yaml"])
def test_a_path_without_a_run_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"resume={tmp_path}/{name}: no"):
        find_run(f"{tmp_path}/{name}")


def test_a_continued_run_stays_in_its_directory(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(compose_config(BEGAN).to_dict()))
    with pytest.raises(UserError, match=r"hydra\.run\.dir=x: a run that is continued stays where it is"):
        resumed_config(str(tmp_path), ["resume=it", "hydra.run.dir=x"])


def test_a_saved_configuration_of_another_version_is_refused(tmp_path: Path) -> None:
    for text in ("seed: x", "a: [", "unknown: 1", ""):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=r"config\.yaml: not a configuration of this version"):
            resumed_config(str(tmp_path), [])


def test_latest_is_the_newest_unfinished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"resume=latest: no unfinished run in .*runs"):
        find_run("latest")
    for age, name in enumerate(("sweep/newest", "older", "oldest")):
        run_dir = tmp_path / "runs" / name
        run_dir.mkdir(parents=True)
        for file in ("config.yaml", "result.json"):
            (run_dir / file).write_text("{}")
            os.utime(run_dir / file, (1e9 - age, 1e9 - age))
    (tmp_path / "runs" / "result.json").write_text("{}")  # not a run: it has no config.yaml
    assert find_run("latest") == (tmp_path / "runs" / "sweep" / "newest", None)
    (tmp_path / "runs" / "sweep" / "newest" / "config.yaml").write_text("seed: 0\ndebug: fast\n")
    assert find_run("latest") == (tmp_path / "runs" / "older", None)
    (tmp_path / "runs" / "older" / "result.json").write_text(json.dumps({"status": "finished"}))
    assert find_run("latest") == (tmp_path / "runs" / "oldest", None)
    (tmp_path / "runs" / "oldest" / "result.json").write_text(json.dumps({"status": "stopped_early"}))
    for record in ({"status": "over_budget"}, {"status": "interrupted", "error": RunPruned.MESSAGE}):
        (tmp_path / "runs" / "older" / "result.json").write_text(json.dumps(record))
        with pytest.raises(UserError, match="no unfinished run"):
            find_run("latest")
    with pytest.raises(UserError, match=r"no unfinished run .*larger trainer\.max_epochs"):
        find_run("latest")
