"""The figures of report.html show the numbers of the ranking, with every text escaped."""

import math
from pathlib import Path

import pytest

from lora_agnews.results import plots
from lora_agnews.results.row import Row
from tests.records import ranked, save_record


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """r=1 and r=4 are on the Pareto front, r=2 is not; two seeds each."""
    for r, score, trainable in ((1, 0.8, 1000), (2, 0.7, 2000), (4, 0.9, 4000)):
        for seed in (0, 1):
            folder = tmp_path / f"{r}-{seed}"
            save_record(folder, score + seed / 100, f"lora.r={r}", f"seed={seed}", trainable=trainable)
            (folder / "metrics.csv").write_text(f"step,train/loss,val/accuracy,val/loss\n1,2.0,,\n5,,0.{r},{r}.5\n")
    return ranked(tmp_path)


def test_the_pareto_front_and_the_other_configurations_are_drawn_with_their_spread(rows: list[Row]) -> None:
    figure = plots.accuracy_by_parameters(rows)
    traces = {trace["name"]: trace for trace in figure["data"]}
    front, others = traces["Pareto front"], traces["other configurations"]
    assert (front["x"], front["y"]) == ([1000, 4000], pytest.approx([0.805, 0.905]))
    assert (others["x"], others["y"]) == ([2000], pytest.approx([0.705]))
    assert others["error_y"]["array"] == pytest.approx([0.01 / math.sqrt(2)])
    assert front["text"] == ["r=1", "r=4"]
    assert [shape["x0"] for shape in figure["layout"]["shapes"]] == [1_000_000]
    assert figure["layout"]["yaxis"]["title"]["text"] == "val accuracy"


def test_numbers_that_span_decades_are_drawn_on_a_logarithmic_axis(tmp_path: Path) -> None:
    for lr, head in (("1e-4", "full"), ("1e-3", "lora"), ("1e-2", "full")):
        save_record(tmp_path / lr, 0.5, f"optim.lr={lr}", f"model.head={head}")
    (trace,) = plots.parallel_coordinates(ranked(tmp_path))["data"]
    axes = {axis["label"]: axis for axis in trace["dimensions"]}
    assert sorted(axes["lr"]["values"]) == pytest.approx([-4, -3, -2])
    assert axes["lr"]["ticktext"] == ["0.0001", "0.001", "0.01"]
    assert axes["head"]["ticktext"] == ["full", "lora"]
    assert sorted(axes["head"]["values"]) == [0, 0, 1]
    assert axes["val accuracy"]["values"] == [0.5, 0.5, 0.5]
    assert set(axes) == {"lr", "head", "parameters", "val accuracy"}


def test_the_effect_of_a_key_is_over_all_runs_with_each_value(rows: list[Row]) -> None:
    single, mean = plots.effect_of_key(rows, "r")["data"]
    assert mean["x"] == ["1", "2", "4"]
    assert mean["y"] == pytest.approx([0.805, 0.705, 0.905])
    assert sorted(zip(single["x"], single["y"], strict=True))[:2] == [("1", 0.8), ("1", 0.81)]
    assert len(single["x"]) == 6


def test_learning_curves_are_those_of_every_counted_run(rows: list[Row]) -> None:
    figure = plots.learning_curves(rows)
    assert len(figure["data"]) == 2 * 6
    values = {(trace["name"], trace["yaxis"], *trace["x"], *trace["y"]) for trace in figure["data"]}
    assert ("r=4", "y", 5, 0.4) in values
    assert ("r=4", "y2", 5, 4.5) in values
    assert figure["layout"]["xaxis"]["title"]["text"] == "step"


def test_of_very_many_points_every_few_are_drawn_up_to_the_last_one_and_the_axis_says_so(
    rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, _ in rows[0].runs:
        lines = [f"{step},0.{step}," for step in range(10, 20)]
        (folder / "metrics.csv").write_text("\n".join(["step,val/accuracy,val/loss", *lines]) + "\n")
    monkeypatch.setattr(plots, "MOST_POINTS", 10)
    figure = plots.learning_curves(rows[:1])
    assert [trace["x"] for trace in figure["data"]] == [[11, 13, 15, 17, 19], [], [11, 13, 15, 17, 19], []]
    assert figure["layout"]["xaxis"]["title"]["text"] == "step (1 of 2 validations is drawn)"


def test_a_run_without_metrics_has_an_empty_curve(rows: list[Row], tmp_path: Path) -> None:
    for path in tmp_path.glob("*/metrics.csv"):
        path.unlink()
    assert all(not trace["x"] for trace in plots.learning_curves(rows)["data"])


def test_numbers_have_six_digits_and_what_is_no_number_is_a_gap() -> None:
    values = [0.12345678, 1e-7 / 3, math.nan, math.inf, 3]
    found = plots.to_html({"data": [{"y": values}], "layout": {"height": 10}})
    assert '"y":[0.123457,3.33333e-08,null,null,3]' in found


def test_untrusted_texts_are_escaped_and_long_ones_keep_their_end(tmp_path: Path) -> None:
    for name in ("<b>one</b>", "/very/long/folder/of/somebody/two"):
        save_record(tmp_path / name.replace("/", "_"), 0.5, f'model.name="{name}"')
    rows = ranked(tmp_path)
    for figure in (plots.effect_of_key(rows, "model.name"), plots.parallel_coordinates(rows)):
        text = plots.to_html(figure)
        assert "<b>one" not in text
        assert "&lt;b&gt;one" in text
        assert "/somebody/two" in text
        assert "/very/long" not in text
