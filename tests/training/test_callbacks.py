"""Throughput, the progress bar, and the end of a run that a study prunes."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.callback import CallbackTrigger, callback_handler

from lora_agnews.errors import RunPruned
from lora_agnews.training import callbacks
from lora_agnews.training.callbacks import PruningCallback, Stopwatch
from tests.toys import Toy, loader, make_task, make_trainer

ON_CPU = SimpleNamespace(root_device=torch.device("cpu"))

# pruning


def test_a_run_is_pruned_after_the_validation_for_which_it_is_asked(tmp_path: Path) -> None:
    asked: list[tuple[int, float]] = []

    def should_prune(step: int, score: float) -> bool:
        asked.append((step, score))
        return len(asked) == 2

    trainer = make_trainer(tmp_path, PruningCallback(should_prune), max_epochs=5)
    with pytest.raises(RunPruned):
        trainer.fit(make_task(Toy()), loader(), loader())
    assert [number for number, _ in asked] == [1, 2]
    assert asked[-1][1] == float(trainer.callback_metrics["val/accuracy"])


def test_validations_outside_of_training_do_not_prune(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, PruningCallback(lambda *_: True))
    trainer.validate(make_task(Toy()), loader(), verbose=False)


# throughput


def test_the_stopwatch_counts_rows_and_real_tokens_and_pauses_during_validation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter([10.0, 12.0, 17.0, 18.0])  # begin, validation from 12 to 17, end
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    watch, trainer = Stopwatch(0.0, 0.0), SimpleNamespace(world_size=2, strategy=ON_CPU)
    batch = {"labels": torch.zeros(4), "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}
    watch.on_train_start(trainer, None)  # type: ignore[arg-type]
    watch.on_train_batch_end(trainer, None, None, batch, 0)  # type: ignore[arg-type]
    watch.on_validation_start(trainer, None)  # type: ignore[arg-type]
    watch.on_validation_end(trainer, None)  # type: ignore[arg-type]
    watch.on_train_end(trainer, None)  # type: ignore[arg-type]
    found = watch.throughput(steps=6, device=torch.device("cpu"))
    assert watch.seconds == 3.0
    assert found["samples_per_second"] == pytest.approx(8 / 3)
    assert found["tokens_per_second"] == pytest.approx(10 / 3)
    assert found["steps_per_second"] == 2.0
    assert found["peak_memory_bytes"] > 1e6


def test_the_stopwatch_of_a_continued_run_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 4.0, 100.0, 106.0])
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    first, second, trainer = Stopwatch(0.0, 0.0), Stopwatch(0.0, 0.0), SimpleNamespace(world_size=1, strategy=ON_CPU)
    batch = {"labels": torch.zeros(4), "input_ids": torch.ones(4, 3)}
    first.on_train_start(trainer, None)  # type: ignore[arg-type]
    first.on_train_batch_end(trainer, None, None, batch, 0)  # type: ignore[arg-type]
    second.load_state_dict(first.state_dict())
    second.on_train_start(trainer, None)  # type: ignore[arg-type]
    second.on_train_batch_end(trainer, None, None, batch, 0)  # type: ignore[arg-type]
    second.on_train_end(trainer, None)  # type: ignore[arg-type]
    assert (second.seconds, second.samples, int(second.tokens)) == (10.0, 8, 24)


def test_the_speed_leaves_out_what_is_compiled_during_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call of the clock is one second later: training takes 5, of which its compilation takes 1."""
    seconds = iter(range(100))
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: float(next(seconds))))
    watch, trainer = Stopwatch(0.0, 0.0), SimpleNamespace(world_size=1, strategy=ON_CPU)
    batch = {"labels": torch.zeros(12), "attention_mask": torch.ones(12, 2)}
    with watch.leaving_out_compilation():
        watch.on_train_start(trainer, None)  # type: ignore[arg-type]
        with callback_handler.install_callbacks(CallbackTrigger.DYNAMO, "0/0"):
            watch.on_train_batch_end(trainer, None, None, batch, 0)  # type: ignore[arg-type]
        watch.on_validation_start(trainer, None)  # type: ignore[arg-type]
        with callback_handler.install_callbacks(CallbackTrigger.DYNAMO, "0/1"):
            pass  # not a part of the training
        watch.on_validation_end(trainer, None)  # type: ignore[arg-type]
        saved = watch.state_dict()
        watch.on_train_end(trainer, None)  # type: ignore[arg-type]
    assert (watch.seconds, watch.compile_seconds, saved["compile_seconds"]) == (5.0, 1.0, 1.0)
    speed = watch.throughput(steps=2, device=torch.device("cpu"))
    assert (speed["samples_per_second"], speed["steps_per_second"], speed["tokens_per_second"]) == (3.0, 0.5, 6.0)
    assert callback_handler.start_callbacks == callback_handler.end_callbacks == []
    continued = Stopwatch(0.0, 0.0)
    continued.load_state_dict(saved)
    assert continued.compile_seconds == 1.0


def test_checkpoints_from_before_the_compilation_was_measured_can_be_continued() -> None:
    watch = Stopwatch(0.0, 0.0)
    watch.load_state_dict({"seconds": 3.0, "samples": 8, "tokens": 24})
    assert (watch.seconds, watch.compile_seconds) == (3.0, 0.0)
