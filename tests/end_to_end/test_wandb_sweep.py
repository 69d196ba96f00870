"""docs/wandb_sweep.yaml: W&B's own agent turns it into commands of train.py, which run."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.wandb_agent import Agent

from lora_agnews.config.compose import compose_config
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.record import RunResult
from lora_agnews.training.wandb_run import PROJECT
from tests.commands import CACHE, ROOT
from tests.wandb_runs import records

SWEEP = yaml.safe_load((ROOT / "docs" / "wandb_sweep.yaml").read_text(encoding="utf-8"))


def values_of(parameter: dict[str, Any]) -> list[Any]:
    """The values that W&B may choose: all of a list, both ends of a range."""
    return parameter["values"] if "values" in parameter else [parameter["min"], parameter["max"]]


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """An agent of the sweep that works offline, on the shipped model, and leaves its runs in `tmp_path`."""
    offline = {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "abcd1234", "WANDB_DIR": str(tmp_path), "WANDB_RUN_ID": ""}
    for name, value in (offline | {"XDG_CACHE_HOME": CACHE, "OMP_NUM_THREADS": "1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    monkeypatch.chdir(ROOT)
    agent = Agent(None, None, sweep_id="abcd1234")
    short = ["experiment=quickstart", "trainer.max_steps=2", "data.max_length=16", f"hydra.run.dir={tmp_path}/run"]
    command = [each for each in SWEEP["command"] if not each.startswith("model=")]
    agent._sweep_command = [*command[:-1], *short, command[-1]]
    return agent


@pytest.mark.slow
@pytest.mark.parametrize("end", [0, -1])
def test_the_agent_of_wandb_runs_the_sweep(agent: Agent, tmp_path: Path, end: int) -> None:
    chosen = {key: values_of(parameter)[end] for key, parameter in SWEEP["parameters"].items()}
    arguments = {key: {"value": value} for key, value in chosen.items()}
    agent._command_run({"program": SWEEP["program"], "run_id": "run1", "args": arguments})
    assert agent._run_processes["run1"].wait(120) == 0
    result = RunResult.load(tmp_path / "run")
    lora = result.config["model"]["lora"]
    found = {"lora.r": lora["r"], "lora.alpha": lora["alpha"], "optim.lr": result.config["optim"]["lr"]}
    assert found | {"seed": result.seed} == chosen
    (logged,) = records(tmp_path / "run", "--summary")
    assert (logged["summary"][SWEEP["metric"]["name"]], logged["run_id"]) == (result.metrics[MONITOR.key], "run1")
    assert os.environ["WANDB_RUN_ID"] == "run1"


def test_every_value_of_the_sweep_is_valid_and_the_metric_is_the_one_that_decides() -> None:
    assert SWEEP["metric"] == {"name": MONITOR.key, "goal": "maximize" if MONITOR.mode == "max" else "minimize"}
    fixed = [each for each in SWEEP["command"] if not each.startswith("${")]
    config = compose_config(fixed)
    assert SWEEP["project"] == PROJECT
    assert config.logger.project is None
    for key, parameter in SWEEP["parameters"].items():
        for value in values_of(parameter):
            compose_config([*fixed, f"{key}={value}"])
