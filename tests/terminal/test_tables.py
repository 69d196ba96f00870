"""Tables show the numbers of budgets, plans, rankings and results, and fit 80 columns."""

import re
from pathlib import Path
from typing import Any

import pytest

from lora_agnews.budget import Budget
from lora_agnews.config.compose import compose_config, compose_study
from lora_agnews.errors import UserError
from lora_agnews.results.record import RunResult, Status
from lora_agnews.terminal import tables
from tests.records import ranked, save_record
from tests.terminal.conftest import MakeConsole

HEAD = ("classifier.dense", "classifier.out_proj")
LAYER = "base_model.model.roberta.encoder.layer"
TRAINED = {
    **{f"{LAYER}.{number}.attention.self.query.lora_A.default.weight": (1, 10) for number in (0, 1, 2)},
    f"{LAYER}.4.attention.self.query.lora_A.default.weight": (1, 10),
    f"{LAYER}.5.attention.self.query.lora_A.default.weight": (2, 10),
    "base_model.model.classifier.out_proj.weight": (4, 10),
}


def lines_of(text: str) -> list[str]:
    """The lines, with single blanks between their columns."""
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]


def test_a_budget_is_shown_by_part_with_its_shares(replace_console: MakeConsole) -> None:
    stream = replace_console()
    tables.show_budget(Budget(200, 1000, TRAINED, HEAD, r=1), "a model")
    assert lines_of(stream.getvalue()) == [
        "Trainable parameters of a model",
        "part parameters of the budget of the model",
        "lora query 60 30.00% 6.0000%",
        "head classifier.out_proj 40 20.00% 4.0000%",
        "trained 100 50.00% 10.0000%",
        "limit 200",
        "room 100 50.00%",
        "whole model 1,000",
        "largest r that fits 3",
        "",
    ]


def test_a_budget_that_is_exceeded_says_by_how_much(replace_console: MakeConsole) -> None:
    stream = replace_console()
    tables.show_budget(Budget(30, 1000, TRAINED, HEAD, r=1), "a model")
    assert "too many 70 233.33%" in lines_of(stream.getvalue())
    assert "largest r that fits none" in lines_of(stream.getvalue())


def test_neighbouring_layers_of_one_size_share_a_row(replace_console: MakeConsole) -> None:
    stream = replace_console()
    tables.show_layers(Budget(200, 1000, TRAINED, HEAD))
    assert lines_of(stream.getvalue())[1:5] == ["0 to 2 10 30", "4 10 10", "5 20 20", "head 40 40"]


def test_a_plan_names_each_reason_once_and_counts_what_fits(replace_console: MakeConsole) -> None:
    stream = replace_console()
    points: list[tuple[dict[str, Any], Budget | Exception]] = [
        ({"r": 1, "targets": ["query"]}, Budget(200, 1000, TRAINED, HEAD)),
        ({"r": 2, "targets": ["query"]}, Budget(99, 1000, TRAINED, HEAD)),
        ({"r": 3, "targets": ["quary"]}, UserError("quary matches nothing")),
        ({"r": 4, "targets": ["quary"]}, UserError("quary matches nothing")),
    ]
    assert tables.show_plan(points) == 1
    assert lines_of(stream.getvalue()) == [
        "r targets parameters of the budget",
        "1 [query] 100 50.00% fits",
        "2 [query] 100 101.01% 1 too many",
        "3 [quary] - - refused (1)",
        "4 [quary] - - refused (1)",
        "",
        "(1) quary matches nothing",
    ]


def test_in_a_plan_a_key_that_varies_under_a_condition_has_its_own_column(replace_console: MakeConsole) -> None:
    stream = replace_console()
    budget = Budget(200, 1000, TRAINED, HEAD)
    tables.show_plan([({"schedule": "constant"}, budget), ({"schedule": "linear", "warmup": 0.06}, budget)])
    assert lines_of(stream.getvalue()) == [
        "schedule warmup parameters of the budget",
        "constant - 100 50.00% fits",
        "linear 0.06 100 50.00% fits",
        "",
    ]


def test_a_study_of_drawn_points_shows_only_their_number(replace_console: MakeConsole) -> None:
    stream = replace_console()
    tables.show_study(compose_study(["study=smoke", "sampler=tpe", "trials=7"]), [])
    assert lines_of(stream.getvalue()) == ["Study smoke", "points drawn by tpe: 7, seeds: 2, runs: 14"]


def test_a_leaderboard_fits_80_columns_and_marks_ties(tmp_path: Path, replace_console: MakeConsole) -> None:
    stream = replace_console()
    for r, score in ((1, 0.9), (2, 0.899), (4, 0.5)):
        for seed in (0, 1):
            targets = "lora.target_modules=[query,key,value,attention.output.dense,intermediate.dense]"
            more = [targets] if r == 4 else []
            save_record(tmp_path / f"{r}-{seed}", score + seed / 100, f"lora.r={r}", f"seed={seed}", *more)
    save_record(tmp_path / "failed", 0.0, "lora.r=4", "seed=2", targets, status="failed")
    tables.show_ranking(ranked(tmp_path))
    shown = stream.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    rows = lines_of(shown)
    assert rows[0] == "run val accuracy test accuracy seeds trained cost [s]"
    assert rows[1].startswith("1 0.9050 ± 0.0071"), "names that are too long are below the table"
    assert "1 r=1 target_modules=[query,value,classifier.dense]" in rows
    assert "0.9050 ± 0.0071" in rows[1]
    assert "= 0.9040 ± 0.0071" in shown
    assert "2 + 1 failed" in shown
    assert "cost: 75 s for 7 runs" in rows, "10 s and 11 s for each row, and 12 s for the run that failed"
    assert rows[-1] == "= within one standard error of the best val accuracy"


def finished_result(**values: Any) -> RunResult:
    config = compose_config(["model=tiny"])
    metrics = {f"{split}/{key}": 0.5 for split in ("val", "test") for key in ("accuracy", "macro_f1")}
    result = RunResult.of(config, status=Status.FINISHED, metrics=metrics, **values)
    result.budget, result.seconds = {"trainable": 100, "total": 1000}, {"train": 10.0, "total": 20.0}
    result.data = {"train": 100, "val": 10, "test": 40}
    result.throughput = {"samples_per_second": 123.4, "tokens_per_second": 4567.8}
    return result


def test_paths_and_commands_of_a_result_are_not_wrapped_at_80_columns(replace_console: MakeConsole) -> None:
    stream, run_dir = replace_console(), Path("/somewhere/" + "deep/" * 20 + "run")
    command = f"wandb sync {run_dir}/wandb/offline-run-20260101_000000-abcdefgh"
    tables.show_result(finished_result(), run_dir, {"W&B": "offline", "  upload": command})
    shown = stream.getvalue().splitlines()
    assert f"run         {run_dir}" in shown
    assert f"  upload    {command}" in shown
    assert "validation  accuracy 0.5000   macro-F1 0.5000   (10 rows)" in shown
    assert "test        accuracy 0.5000   macro-F1 0.5000   (40 rows)" in shown
    assert "trained     100 of 1,000 parameters (10.0000%)" in shown
    assert "speed       123 samples/s, 4,568 tokens/s" in shown


def test_a_run_below_the_working_directory_is_shown_by_its_relative_path(
    replace_console: MakeConsole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stream = replace_console()
    tables.show_result(finished_result(), tmp_path / "runs" / "mine", {})
    assert f"run         {Path('runs/mine')}" in stream.getvalue().splitlines()


def test_a_result_without_test_rows_says_so(replace_console: MakeConsole) -> None:
    stream, result = replace_console(), finished_result()
    result.metrics = {key: value for key, value in result.metrics.items() if key.startswith("val/")}
    tables.show_result(result, Path("run"), {})
    assert "test        no test file given" in stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("duplicates", "note"),
    [
        ({"within_train": 0, "train_and_val": 0, "train_and_test": 0}, ""),
        (
            {"within_train": 1200, "train_and_val": 0, "train_and_test": 3},
            "duplicate texts: 1,200 within the training file, 3 in both the training file and the test file. All rows",
        ),
        ({"within_train": 0, "train_and_val": 2, "train_and_test": 0}, "2 in both training and validation"),
    ],
)
def test_rows_and_duplicate_texts_are_shown(
    replace_console: MakeConsole, duplicates: dict[str, int], note: str
) -> None:
    out, err = replace_console("out"), replace_console("err")
    tables.show_data({"train": 3600, "val": 400, "test": 0, "duplicates": duplicates})
    assert out.getvalue() == "3,600 training, 400 validation and 0 test rows\n"
    assert note in err.getvalue()
    assert bool(err.getvalue()) == bool(note)
