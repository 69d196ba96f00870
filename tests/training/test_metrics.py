"""Metrics equal hand counts."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lora_agnews.training.metrics import EpochLoss, Predictions
from tests.toys import Answers, loader, make_task, make_trainer


def test_test_metrics_equal_hand_counts(tmp_path: Path) -> None:
    # World: 2 of 3 right, one taken for Sports. Sports: 1 of 1. Business: 2 of 2. Sci/Tech: 0 of 2, taken for Business.
    labels = [0, 0, 0, 1, 2, 2, 3, 3]
    answers = [0, 0, 1, 1, 2, 2, 2, 2]
    task = make_task(Answers())
    (metrics,) = make_trainer(tmp_path).test(task, loader(answers, labels, batch_size=3), verbose=False)
    f1 = [2 * 2 / (2 * 2 + 0 + 1), 2 * 1 / (2 * 1 + 1 + 0), 2 * 2 / (2 * 2 + 2 + 0), 0.0]
    assert metrics["test/accuracy"] == pytest.approx(5 / 8)
    names = ("world", "sports", "business", "sci_tech")
    assert [metrics[f"test/f1_{name}"] for name in names] == pytest.approx(f1)
    assert metrics["test/macro_f1"] == pytest.approx(sum(f1) / 4)
    assert task.metrics.confusion.tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 2, 0]]
    right = -torch.log_softmax(torch.tensor([5.0, 0, 0, 0]), 0)
    assert metrics["test/loss"] == pytest.approx(float(5 * right[0] + 3 * right[1]) / 8, rel=1e-5)


def test_predictions_are_sorted_by_row_whatever_the_batches() -> None:
    predictions = Predictions()
    logits = torch.tensor([[0.0, 5, 0, 0], [5, 0, 0, 0], [0, 0, 5, 0]])
    predictions.update(torch.tensor([70_000, 3]), torch.tensor([1, 2]), logits[:2])
    predictions.update(torch.tensor([9]), torch.tensor([2]), logits[2:])
    found = predictions.compute()
    assert {name: values.tolist() for name, values in found.items() if name != "probability"} == {
        "row": [3, 9, 70_000],
        "label": [2, 2, 1],
        "predicted": [0, 2, 1],
    }
    right, wrong = torch.softmax(logits[0], 0)[[1, 0]].tolist()
    assert found["probability"].tolist() == pytest.approx([wrong, right, right], rel=1e-3)
    predictions.reset()
    predictions.update(torch.tensor([8, 1]), torch.tensor([0, 0]), logits[:2])
    assert predictions.compute()["row"].tolist() == [1, 8]


def test_the_training_loss_is_the_mean_over_rows_and_a_row_repeated_for_another_device_does_not_count() -> None:
    one_device = SimpleNamespace(reduce=lambda totals, reduce_op: totals, root_device=torch.device("cpu"))
    loss = EpochLoss()
    for mean, rows, weight in ((1.0, 4, None), (2.0, 2, torch.tensor(1.25)), (100.0, 1, torch.tensor(0.0))):
        loss.update(torch.tensor(mean), rows, weight)
    assert loss.compute(one_device) == round((4 * 1.0 + 2 * 2.0) / 6, 6)  # type: ignore[arg-type]
    assert math.isnan(loss.compute(one_device)), "the next epoch has begun"  # type: ignore[arg-type]


def test_the_training_loss_is_reduced_on_the_device_of_the_strategy_also_before_the_first_step_of_an_epoch() -> None:
    elsewhere = SimpleNamespace(reduce=lambda totals, reduce_op: totals, root_device=torch.device("meta"))
    assert EpochLoss().totals(elsewhere).device.type == "meta"  # type: ignore[arg-type]
