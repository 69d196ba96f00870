"""A run that is killed at any file operation or moment, and continued, equals the uninterrupted one bit for bit."""

import random
from pathlib import Path
from typing import Any

import pytest

from lora_agnews.config.schema import TrainConfig
from lora_agnews.results.record import RunResult
from tests.faults.processes import count_operations, in_child
from tests.resuming import train

pytestmark = pytest.mark.faults
POINTS, AT_OPERATIONS = 100, 80  # the others are at random moments
KILLED = 128 + 9


def outcome(run_dir: Path) -> dict[str, Any]:
    """What must be equal: the adapter and the curves as bytes, and the metrics."""
    files = {name: (run_dir / name).read_bytes() for name in ("adapter/adapter_model.safetensors", "metrics.csv")}
    result = RunResult.load(run_dir)
    return files | {"metrics": result.metrics, "confusion": result.confusion, "status": result.status}


def test_a_run_that_is_killed_anywhere_is_continued_exactly(
    short_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    train(tmp_path / "warm", short_config)  # so that the children need not import anything
    whole = tmp_path / "whole"

    def counted(run_dir: Path, **how: Any) -> None:
        count_operations(run_dir, **how)
        train(run_dir, short_config)

    log = tmp_path / "log"
    ended = in_child(lambda: counted(whole, report=tmp_path / "operations"), log)
    assert ended.status == 0, log.read_text()
    expected, operations = outcome(whole), int((tmp_path / "operations").read_text())
    drawn = random.Random(0)
    steps = [1 + round(i * (operations - 1) / (AT_OPERATIONS - 1)) for i in range(AT_OPERATIONS)]
    moments = [drawn.uniform(0.05, ended.seconds) for _ in range(POINTS - AT_OPERATIONS)]
    resumable, identical, different = 0, 0, []
    for number, point in enumerate([*steps, *moments]):
        run_dir = tmp_path / str(number)
        if isinstance(point, int):
            status = in_child(lambda: counted(run_dir, kill_at=point), log).status  # noqa: B023
            assert status == KILLED, log.read_text()
        else:
            in_child(lambda: train(run_dir, short_config), log, point)  # noqa: B023
        can_resume = (run_dir / "config.yaml").exists()
        resumable += can_resume
        again = in_child(lambda: train(run_dir, short_config, run_dir if can_resume else None), log)  # noqa: B023
        hidden = [path.name for path in run_dir.rglob(".*") if path.name != ".lock"]
        if again.status == 0 and outcome(run_dir) == expected and hidden == []:
            identical += can_resume
        else:
            different.append((point, again.status, hidden, log.read_text()[-500:]))
    with capfd.disabled():
        print(
            f"\nkill points: {POINTS} run ({AT_OPERATIONS} of {operations} file operations, the others at random), "
            f"{resumable} resumable, {identical} bit-identical; the others began anew"
        )
    assert different == []
    assert resumable == identical
