"""The pictures of a run show the numbers of its files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from lora_agnews.config.compose import compose_config
from lora_agnews.results import figures
from lora_agnews.results.estimates import wilson_interval
from lora_agnews.results.record import RunResult


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures, instead of files."""
    found: list[Figure] = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: found.append(figure) or path)
    return found


def result_of(*overrides: str, **values: Any) -> RunResult:
    return RunResult.of(compose_config(["model=tiny", *overrides]), **values)


def points(axes: Any, label: str) -> list[tuple[float, float]]:
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]


def test_the_running_mean_by_hand() -> None:
    assert figures.running_mean([]) == []
    assert figures.running_mean([2.0]) == [2.0]
    assert figures.running_mean([1, 2, 3, 4, 8]) == [1, 1.5, 2, 3, 5]  # a window of 3
    values = [float(value) for value in range(40)]  # a window of 4: a tenth of all values
    assert figures.running_mean(values)[:5] == [0, 0.5, 1, 1.5, 2.5]
    assert figures.running_mean(values)[-1] == 37.5


def test_curves_show_the_rows_of_metrics_csv(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = ["step,train/loss,val/loss,val/accuracy", "1,1.5,,", "3,1.0,,", "4,,0.9,0.5", "5,0.8,,", "8,,0.7,0.75"]
    (tmp_path / "metrics.csv").write_text("\n".join(rows) + "\n")
    figures.draw_curves(tmp_path, result_of(data={"val": 100}))
    loss, accuracy = drawn[0].axes
    assert points(loss, "one batch") == [(1, 1.5), (3, 1.0), (5, 0.8)]
    assert points(loss, "training") == [(1, 1.5), (3, 1.25), (5, pytest.approx(1.1))]
    assert points(loss, "validation") == [(4, 0.9), (8, 0.7)]
    (curve,) = (line for line in accuracy.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o")
    assert [list(data) for data in curve.get_data()] == [[4, 8], [0.5, 0.75]]


def test_label_smoothing_is_named_because_it_raises_the_training_loss(tmp_path: Path, drawn: list[Figure]) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss,val/loss,val/accuracy\n1,1.5,,\n2,,0.9,0.5\n")
    figures.draw_curves(tmp_path, result_of("optim.label_smoothing=0.1", data={"val": 100}))
    labels = [line.get_label() for line in drawn[0].axes[0].lines]
    assert "training (label smoothing)" in labels


def test_a_confusion_matrix_shows_counts_and_shares_of_the_true_class(tmp_path: Path, drawn: list[Figure]) -> None:
    counts = np.array([[3, 1, 0, 0], [0, 1000, 0, 0], [0, 0, 2, 2], [0, 0, 0, 0]])
    figures.draw_confusion(counts, "Test", tmp_path / "confusion.png")
    axes = drawn[0].axes[0]
    shown = [text.get_text() for text in axes.texts]
    assert shown[:6] == ["3\n75.0%", "1\n25.0%", "0\n0.0%", "0\n0.0%", "0\n0.0%", "1,000\n100.0%"]
    assert shown[-1] == "0\n0.0%", "a class without rows"
    assert axes.get_title() == "Test: 99.70% of 1,008 rows correct"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_calibration_shows_accuracy_and_its_interval_per_bin(tmp_path: Path, drawn: list[Figure]) -> None:
    confidence = np.array([0.55, 0.58, 0.9, 0.95, 0.99])
    correct = np.array([True, False, True, True, False])
    figures.draw_calibration(confidence, correct, np.array([0, 0.5, 0.75, 1]), "title", tmp_path / "calibration.png")
    above, below = drawn[0].axes
    (curve,) = (line for line in above.lines if str(line.get_label()).startswith("the model"))
    assert list(curve.get_xdata()) == pytest.approx([0.565, (0.9 + 0.95 + 0.99) / 3])
    assert list(curve.get_ydata()) == pytest.approx([1 / 2, 2 / 3])
    assert [bar.get_height() for bar in below.patches] == [0, 2, 3]
    (bars,) = above.collections
    ends = [(segment[0][1], segment[1][1]) for segment in bars.get_segments()]  # type: ignore[attr-defined]
    expected = [wilson_interval(1, 2), wilson_interval(2, 3)]
    assert ends == [(pytest.approx(each.low), pytest.approx(each.high)) for each in expected]


@pytest.mark.parametrize(
    ("metrics", "title"), [({"test/accuracy": 0.5}, "Test: "), ({"val/accuracy": 0.5}, "Validation: ")], ids=str
)
def test_a_run_without_test_rows_has_the_confusion_matrix_of_its_validation(
    tmp_path: Path, drawn: list[Figure], metrics: dict[str, float], title: str
) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss,val/loss,val/accuracy\n1,1.5,,\n2,,0.9,0.5\n")
    result = result_of(metrics=metrics, data={"val": 8}, confusion=np.eye(4, dtype=int).tolist())
    paths = figures.draw_run(tmp_path, result)
    assert {path.name for path in paths} == {"confusion.png", "curves.png"}
    titles = [figure.axes[0].get_title() for figure in drawn]
    assert sum(each.startswith(title) for each in titles) == 1


def test_a_picture_is_a_png_in_a_folder_that_is_created(tmp_path: Path) -> None:
    path = figures.draw_confusion(np.eye(4, dtype=int), "Test", tmp_path / "figures" / "confusion.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_curve_whose_column_is_damaged_is_empty(drawn: list[Figure], tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss,val/loss,val/accuracx\n1,0.5,,\n2,,0.4,0.9\n")
    result = result_of(data={"val": 400}, confusion=[])
    figures.draw_curves(tmp_path, result)
    loss, accuracy = drawn[0].axes
    assert points(loss, "validation") == [(2.0, 0.4)]
    assert [len(line.get_xdata()) for line in accuracy.lines if line.get_marker() == "o"] == [0]
