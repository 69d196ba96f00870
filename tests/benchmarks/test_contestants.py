"""The contestants of a comparison: equal steps, and a warm-up that is not measured."""

import functools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import RobertaForSequenceClassification

from benchmarks.contestants import CONTESTANTS, GROUPED, OURS, Setup, one_gpu, ours, peer
from tests.files_of_rows import write_labelled

SLOW_STEP = 1.0  # second


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(
        model="tiny",
        targets=["query", "value"],
        train_file=str(write_labelled(tmp_path / "few.csv", 31)),
        val_fraction=0.1,
        max_length=12,
        batch_size=16,
        steps=6,
        warm_up=2,
        checks=3,
        precision="32-true",
        compile=False,
        threads=1,
        seed=0,
    )


@pytest.mark.filterwarnings("ignore")  # of transformers.Trainer and accelerate
@pytest.mark.parametrize("contestant", CONTESTANTS)
def test_every_contestant_runs_the_same_steps_and_its_warm_up_does_not_count(
    setup: Setup, contestant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, rows, tokens = RobertaForSequenceClassification.forward, [], []

    @functools.wraps(forward)  # transformers.Trainer reads its arguments
    def slow_at_first(model: torch.nn.Module, *arguments: Any, **named: Any) -> Any:
        if model.training:
            rows.append(len(named["input_ids"]))
            tokens.append(int((named["input_ids"] != model.config.pad_token_id).sum()))
            if len(rows) <= setup.warm_up:
                time.sleep(SLOW_STEP)
        return forward(model, *arguments, **named)

    monkeypatch.setattr(RobertaForSequenceClassification, "forward", slow_at_first)
    found = ours(setup) if contestant == OURS else peer(setup, grouped=contestant == GROUPED)
    assert rows == [16] * 6
    assert 4 / found["steps_per_second"] < SLOW_STEP, "seconds of the steps after the warm-up"
    assert found["samples_per_second"] == pytest.approx(16 * found["steps_per_second"])
    assert found["tokens_per_second"] == pytest.approx(sum(tokens[2:]) / 4 * found["steps_per_second"])
    assert 0 < found["val_accuracy"] <= 1
    if contestant == OURS:
        assert [step for step, _ in found["curve"]] == [2, 4, 6]
        assert found["curve"][-1][1] == found["val_loss"]


@pytest.mark.parametrize("changes", [{"checks": 4}, {"warm_up": 6}], ids=str)
def test_settings_without_a_measurement_are_refused(setup: Setup, changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="6 steps: a multiple of"):
        replace(setup, **changes)


@pytest.mark.parametrize(("visible", "used"), [(None, "0"), ("5", "5"), ("3,1", "3"), ("", "")], ids=str)
def test_the_contestants_share_one_gpu_also_where_there_are_several(
    visible: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert one_gpu() == {"CUDA_VISIBLE_DEVICES": used}
