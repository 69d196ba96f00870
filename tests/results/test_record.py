"""result.json contains what somebody else needs to repeat a run, and is read back unchanged."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from lora_agnews.config.compose import compose_config
from lora_agnews.config.identity import config_hash
from lora_agnews.errors import UserError
from lora_agnews.results.record import PACKAGES, RunResult, Status, environment


def test_a_record_is_read_back_unchanged(tmp_path: Path) -> None:
    config = compose_config(["model=tiny", "seed=3"])
    result = RunResult.of(config, metrics={"val/accuracy": 0.5}, confusion=[[1, 0], [0, 1]], error="é")
    result.save(tmp_path)
    assert RunResult.load(tmp_path) == result
    assert (result.seed, result.config_hash) == (3, config_hash(config.to_dict()))
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == config.to_dict()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "result.json"]


def test_there_may_be_no_record(tmp_path: Path) -> None:
    assert RunResult.load_if_any(tmp_path) is None
    with pytest.raises(FileNotFoundError):
        RunResult.load(tmp_path)


@pytest.mark.parametrize("change", [{"status": "sleeping"}, {"unknown": 1}], ids=str)
def test_what_is_no_record_is_not_read(tmp_path: Path, change: dict[str, object]) -> None:
    RunResult.of(compose_config(["model=tiny"])).save(tmp_path)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=f"{path}: not a record of this version: "):
        RunResult.load(tmp_path)


def test_only_a_run_that_came_to_its_planned_or_early_end_has_succeeded() -> None:
    assert {status for status in Status if status.succeeded} == {Status.FINISHED, Status.STOPPED_EARLY}
    assert Status.STOPPED_EARLY.label == "stopped early"


def test_the_environment_names_versions_hardware_and_commit() -> None:
    found = environment()
    assert found["versions"].keys() == set(PACKAGES)
    assert found["versions"]["torch"]
    assert found["versions"]["lora_agnews"] == version("lora_agnews")
    assert found["cores"] >= 1
    assert len(found["git_commit"]) == 40
    assert json.loads(json.dumps(found)) == found
