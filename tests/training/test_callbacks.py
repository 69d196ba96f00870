"""Throughput, the progress bar, and the end of a run that a study prunes."""

import io
import re
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from rich.console import Console

from lora_agnews.errors import RunPruned
from lora_agnews.terminal import console
from lora_agnews.training import callbacks
from lora_agnews.training.callbacks import ProgressBar, PruningCallback, Stopwatch
from tests.toys import Toy, loader, make_task, make_trainer

# pruning


def test_a_run_is_pruned_after_the_validation_for_which_it_is_asked(tmp_path: Path) -> None:
    asked: list[tuple[int, float]] = []

    def should_prune(step: int, score: float) -> bool:
        asked.append((step, score))
        return len(asked) == 2

    trainer = make_trainer(tmp_path, PruningCallback(should_prune), max_epochs=5)
    with pytest.raises(RunPruned):
        trainer.fit(make_task(Toy()), loader(), loader())
    assert [step for step, _ in asked] == [3, 6]
    assert asked[-1][1] == float(trainer.callback_metrics["val/accuracy"])


def test_validations_outside_of_training_do_not_prune(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, PruningCallback(lambda *_: True))
    trainer.validate(make_task(Toy()), loader(), verbose=False)


# the progress bar


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The stream behind a terminal on standard error."""
    stream = io.StringIO()
    made = Console(file=stream, width=100, force_terminal=True, color_system=None)
    monkeypatch.setattr(console, "err", made)
    return stream


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the progress bar reads; the test appends the next one."""
    seconds = [100.0]
    fake = SimpleNamespace(monotonic=lambda: seconds[-1], perf_counter=callbacks.time.perf_counter)
    monkeypatch.setattr(callbacks, "time", fake)
    return seconds


def shown(stream: io.StringIO) -> list[str]:
    """Each drawing of a bar as its words: "Epoch 1/2 3/6 val accuracy 0.5000"."""
    lines = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()))
    words = [re.sub(r"\s+", " ", re.sub(r"[━╸╺]+|-?:--:--|\d+:\d\d:\d\d", " ", line)).strip() for line in lines]
    return [line for line in dict.fromkeys(words) if line]


def test_the_bar_counts_epochs_from_1_and_steps_to_the_end_of_the_training(
    tmp_path: Path, terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count(100)
    fake = SimpleNamespace(monotonic=lambda: next(seconds), perf_counter=callbacks.time.perf_counter)
    monkeypatch.setattr(callbacks, "time", fake)
    trainer = make_trainer(tmp_path, ProgressBar(), enable_progress_bar=True, max_epochs=2)
    trainer.fit(make_task(Toy()), loader(), loader())
    lines = shown(terminal)
    steps = [line for line in lines if line.startswith("Epoch")]
    assert [line.split(" val")[0] for line in steps] == [f"Epoch {1 + step // 3}/2 {step + 1}/6" for step in range(6)]
    assert "val accuracy" not in steps[2]
    accuracy = float(trainer.callback_metrics["val/accuracy"])
    assert all(re.search(r"val accuracy 0\.\d{4}$", line) for line in steps[3:])
    assert 0 <= accuracy <= 1
    assert "Validation 3/3" in lines


def test_the_bar_counts_to_max_steps_where_they_end_the_training(
    tmp_path: Path, terminal: io.StringIO, clock: list[float]
) -> None:
    trainer = make_trainer(tmp_path, ProgressBar(), enable_progress_bar=True, max_epochs=4, max_steps=5)
    trainer.fit(make_task(Toy()), loader())
    assert "Epoch 1/4 1/5" in shown(terminal)


def test_the_bar_is_redrawn_by_the_first_batch_a_second_or_more_after_the_last_time(
    terminal: io.StringIO, clock: list[float]
) -> None:
    bar = ProgressBar()
    trainer: Any = SimpleNamespace(
        estimated_stepping_batches=10, global_step=0, callback_metrics={}, current_epoch=0, max_epochs=1
    )
    for step, now in enumerate((100.0, 100.5, 100.99, 101.0, 101.2, 103.0), 1):
        clock.append(now)
        bar.on_train_batch_start(trainer, None, None, step - 1)  # type: ignore[arg-type]
        trainer.global_step = step
        bar.on_train_batch_end(trainer, None, None, None, step - 1)  # type: ignore[arg-type]
    drawn = [line.split()[2] for line in shown(terminal) if line.startswith("Epoch")]
    assert drawn == ["1/10", "4/10", "6/10"]


def test_the_bar_of_a_continued_run_begins_where_the_run_is(terminal: io.StringIO, clock: list[float]) -> None:
    bar = ProgressBar()
    trainer: Any = SimpleNamespace(
        estimated_stepping_batches=10, global_step=7, callback_metrics={}, current_epoch=1, max_epochs=2
    )
    bar.on_train_batch_start(trainer, None, None, 2)  # type: ignore[arg-type]
    assert bar.progress is not None
    assert bar.progress.tasks[0].completed == 7


def test_every_bar_disappears_however_the_training_ends(
    tmp_path: Path, terminal: io.StringIO, clock: list[float]
) -> None:
    bar = ProgressBar()
    make_trainer(tmp_path, bar, enable_progress_bar=True).fit(make_task(Toy()), loader(), loader())
    assert (bar.progress, bar.tasks) == (None, {})

    class Fail(L.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise ZeroDivisionError

    bar = ProgressBar()
    with pytest.raises(ZeroDivisionError):
        make_trainer(tmp_path, bar, Fail(), enable_progress_bar=True).fit(make_task(Toy()), loader())
    assert bar.progress is None


def test_without_a_terminal_there_is_no_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_trainer(tmp_path, ProgressBar(), enable_progress_bar=True).fit(make_task(Toy()), loader(), loader())
    assert "Epoch" not in "".join(capfd.readouterr())


# throughput


def test_the_stopwatch_counts_rows_and_real_tokens_and_pauses_during_validation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter([10.0, 12.0, 17.0, 18.0])  # begin, validation from 12 to 17, end
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    watch, trainer = Stopwatch(), SimpleNamespace(world_size=2)
    batch = {"labels": torch.zeros(4), "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}
    watch.on_train_start(trainer, None)  # type: ignore[arg-type]
    watch.on_train_batch_end(trainer, None, None, batch, 0)  # type: ignore[arg-type]
    watch.on_validation_start(trainer, None)  # type: ignore[arg-type]
    watch.on_validation_end(trainer, None)  # type: ignore[arg-type]
    watch.on_train_end(trainer, None)  # type: ignore[arg-type]
    found = watch.throughput(steps=6)
    assert watch.seconds == 3.0
    assert found["samples_per_second"] == pytest.approx(8 / 3)
    assert found["tokens_per_second"] == pytest.approx(10 / 3)
    assert found["steps_per_second"] == 2.0
    assert found["peak_memory_bytes"] > 1e6


def test_the_stopwatch_of_a_continued_run_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 4.0, 100.0, 106.0])
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    first, second, trainer = Stopwatch(), Stopwatch(), SimpleNamespace(world_size=1)
    batch = {"labels": torch.zeros(4), "attention_mask": torch.ones(4, 3)}
    first.on_train_start(trainer, None)  # type: ignore[arg-type]
    first.on_train_batch_end(trainer, None, None, batch, 0)  # type: ignore[arg-type]
    second.load_state_dict(first.state_dict())
    second.on_train_start(trainer, None)  # type: ignore[arg-type]
    second.on_train_batch_end(trainer, None, None, batch, 0)  # type: ignore[arg-type]
    second.on_train_end(trainer, None)  # type: ignore[arg-type]
    assert (second.seconds, second.samples, int(second.tokens)) == (10.0, 8, 24)
