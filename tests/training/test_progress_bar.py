"""The progress bar counts epochs from 1 and steps to the last one, and is redrawn about once a second."""

import io
import re
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
from rich.console import Console

from lora_agnews.terminal import console
from lora_agnews.training import progress_bar
from lora_agnews.training.progress_bar import ProgressBar
from tests.toys import Toy, loader, make_task, make_trainer


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal gets on standard error."""
    stream = io.StringIO()
    made = Console(file=stream, width=100, force_terminal=True, color_system=None)
    monkeypatch.setattr(console, "err", made)
    return stream


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the progress bar reads; the test appends the next one."""
    seconds = [100.0]
    fake = SimpleNamespace(monotonic=lambda: seconds[-1], perf_counter=progress_bar.time.perf_counter)
    monkeypatch.setattr(progress_bar, "time", fake)
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
    fake = SimpleNamespace(monotonic=lambda: next(seconds), perf_counter=progress_bar.time.perf_counter)
    monkeypatch.setattr(progress_bar, "time", fake)
    trainer = make_trainer(tmp_path, ProgressBar(), enable_progress_bar=True, max_epochs=2)
    trainer.fit(make_task(Toy()), loader(), loader())
    lines = shown(terminal)
    steps = [line for line in lines if line.startswith("Epoch")]
    expected = ["Epoch 1/2 0/6", *(f"Epoch {1 + step // 3}/2 {step + 1}/6" for step in range(6))]
    assert [line.split(" val")[0] for line in steps] == expected
    assert "val accuracy" not in steps[3]
    accuracy = float(trainer.callback_metrics["val/accuracy"])
    assert all(re.search(r"val accuracy 0\.\d{4}$", line) for line in steps[4:])
    assert 0 <= accuracy <= 1
    assert "Validation 3/3" in lines


def test_the_bar_counts_to_max_steps_where_they_end_the_training(
    tmp_path: Path, terminal: io.StringIO, clock: list[float]
) -> None:
    trainer = make_trainer(tmp_path, ProgressBar(), enable_progress_bar=True, max_epochs=4, max_steps=5)
    trainer.fit(make_task(Toy()), loader())
    assert "Epoch 1/4 1/5" in shown(terminal)


def test_the_bar_is_redrawn_by_the_first_batch_that_ends_a_second_or_more_after_the_last_time(
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
    assert drawn == ["0/10", "1/10", "4/10", "6/10"]


def test_the_bar_of_a_continued_run_begins_where_the_run_is(terminal: io.StringIO, clock: list[float]) -> None:
    bar = ProgressBar()
    trainer: Any = SimpleNamespace(
        estimated_stepping_batches=10, global_step=7, callback_metrics={}, current_epoch=1, max_epochs=2
    )
    bar.on_train_batch_start(trainer, None, None, 2)  # type: ignore[arg-type]
    assert bar.progress is not None
    assert bar.progress.tasks[0].completed == 7


def test_no_bar_stays_behind(tmp_path: Path, terminal: io.StringIO, clock: list[float]) -> None:
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
