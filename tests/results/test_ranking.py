"""Runs become rows: which runs are counted, which row is first, which ones are tied with it."""

import json
import statistics
from pathlib import Path

import pytest

from lora_agnews.errors import UserError
from lora_agnews.files.locks import run_lock
from lora_agnews.results.ranking import find_runs, pareto, tie_rule, to_csv
from tests.records import ranked, save_record, save_scored


def test_runs_that_differ_only_by_seed_are_one_row(tmp_path: Path) -> None:
    scores = {1: (0.90, 0.92, 0.91), 4: (0.93, 0.95)}
    for r, each in scores.items():
        for seed, score in enumerate(each):
            # where a run logs to, and where it keeps its tokens, does not make another configuration
            extra = [f"logger.group=g{seed}", f"data.cache_dir=/c{seed}"]
            save_record(tmp_path / f"r{r}" / str(seed), score, f"lora.r={r}", f"seed={seed}", *extra)
    rows = ranked(tmp_path)
    assert [row.values for row in rows] == [{"r": 4}, {"r": 1}]
    assert [row.n for row in rows] == [2, 3]
    assert rows[1].mean() == pytest.approx(0.91)
    assert rows[1].std() == pytest.approx(statistics.stdev(scores[1]))
    assert rows[1].mean("test/accuracy") == pytest.approx(0.90)
    assert rows[1].best[0].name == "1"
    assert rows[1].seconds == pytest.approx(11.0)


def test_only_runs_that_succeeded_are_counted(tmp_path: Path) -> None:
    save_record(tmp_path / "a", 0.5, "seed=0")
    save_record(tmp_path / "b", 0.6, "seed=1", status="stopped_early")
    for number, status in enumerate(("failed", "interrupted", "over_budget", "running"), 2):
        save_record(tmp_path / status, 0.99, f"seed={number}", status=status)
    (row,) = ranked(tmp_path)
    assert (row.n, row.mean()) == (2, pytest.approx(0.55))
    assert row.other_statuses == {"failed": 1, "interrupted": 2, "over_budget": 1}, (
        "nobody is at the one that says running"
    )
    with run_lock(tmp_path / "running"):
        assert ranked(tmp_path)[0].other_statuses["running"] == 1


def correct(number: int, of: int = 400) -> list[bool]:
    """The first `number` rows are predicted correctly."""
    return [True] * number + [False] * (of - number)


def test_a_tie_is_a_row_within_one_standard_error_of_the_paired_difference(tmp_path: Path) -> None:
    """One row in 400 more is a tie, two are not; the rows that both get wrong do not matter."""
    for r, number in ((1, 360), (2, 359), (4, 358)):
        save_scored(tmp_path / str(r), correct(number), f"lora.r={r}")
    rows = ranked(tmp_path)
    assert {row.values["r"]: (row.tied, row.paired) for row in rows} == {
        1: (False, False),
        2: (True, True),
        4: (False, True),
    }
    assert tie_rule(rows) == "within one standard error of the paired difference"
    assert rows[1].to_dict()["tied_with_best"] is True


def test_rows_that_disagree_often_are_tied_at_a_difference_that_is_clear_for_rows_that_agree(tmp_path: Path) -> None:
    save_scored(tmp_path / "1", correct(360), "lora.r=1")
    save_scored(tmp_path / "2", [False] * 40 + [True] * 355 + [False] * 5, "lora.r=2")
    assert [(row.values["r"], row.tied) for row in ranked(tmp_path)] == [(1, False), (2, True)]


def test_only_seeds_that_both_rows_have_are_paired(tmp_path: Path) -> None:
    """On the common seed the second row is better, so the first one is not ahead of it."""
    save_scored(tmp_path / "1-0", correct(350), "lora.r=1", "seed=0")
    save_scored(tmp_path / "1-1", correct(400), "lora.r=1", "seed=1")
    save_scored(tmp_path / "2-0", correct(355), "lora.r=2", "seed=0")
    first, second = ranked(tmp_path)
    assert (first.values["r"], second.tied, second.paired) == (1, True, True)


def test_rows_without_comparable_predictions_are_judged_by_the_error_of_the_best_mean(tmp_path: Path) -> None:
    save_scored(tmp_path / "1", correct(360), "lora.r=1")
    save_record(tmp_path / "2", 0.886, "lora.r=2")  # without predictions; 0.9 has a standard error of 0.015
    save_record(tmp_path / "4", 0.884, "lora.r=4")
    save_scored(tmp_path / "8", correct(354, of=401), "lora.r=8")  # on other rows
    save_scored(tmp_path / "16", correct(350), "lora.r=16")
    rows = ranked(tmp_path)
    assert {row.values["r"]: (row.tied, row.paired) for row in rows[1:]} == {
        2: (True, False),
        4: (False, False),
        8: (False, False),
        16: (False, True),
    }
    assert tie_rule(rows) == "within one standard error of the paired difference; for 3 unpaired rows, of the best mean"


def test_without_predictions_a_tie_is_a_mean_within_one_standard_error_of_the_best(tmp_path: Path) -> None:
    for seed, score in enumerate((0.90, 0.92)):  # 0.91, standard error 0.01
        save_record(tmp_path / f"1-{seed}", score, "lora.r=1", f"seed={seed}")
        save_record(tmp_path / f"2-{seed}", 0.9005, "lora.r=2", f"seed={seed}")
        save_record(tmp_path / f"4-{seed}", 0.8995, "lora.r=4", f"seed={seed}")
    rows = ranked(tmp_path)
    assert {row.values["r"]: row.tied for row in rows} == {1: False, 2: True, 4: False}
    assert tie_rule(rows) == "within one standard error of the best val accuracy"


def test_rows_are_sorted_by_what_is_asked_for_and_those_without_a_number_come_last(tmp_path: Path) -> None:
    save_record(tmp_path / "a", 0.7, "lora.r=4", trainable=300)
    save_record(tmp_path / "b", 0.9, "lora.r=2", trainable=200)
    save_record(tmp_path / "c", 0.0, "lora.r=1", status="failed", trainable=100)
    orders = {"val/accuracy": [2, 4, 1], "test/accuracy": [2, 4, 1], "parameters": [1, 2, 4], "r": [1, 2, 4]}
    for key, expected in (orders | {"model.lora.r": [1, 2, 4]}).items():
        assert [row.values["r"] for row in ranked(tmp_path, by=key)] == expected, key
    with pytest.raises(UserError, match=r"--sort=rank: must be one of val/accuracy, .*, r"):
        ranked(tmp_path, by="rank")


def test_the_pareto_front_is_what_nothing_beats_in_both(tmp_path: Path) -> None:
    points = [(100, 0.80), (200, 0.79), (300, 0.90), (300, 0.85), (900, 0.91)]
    for number, (trainable, score) in enumerate(points, 1):
        save_record(tmp_path / str(number), score, f"lora.r={number}", trainable=trainable)
    assert [row.values["r"] for row in pareto(ranked(tmp_path))] == [1, 3, 5]


def test_keys_that_vary_are_named_by_their_last_part_if_it_is_unique(tmp_path: Path) -> None:
    save_record(tmp_path / "a", 0.7, "optim.name=adam", "lora.target_modules=[query,value]")
    save_record(tmp_path / "b", 0.9, "optim.name=adamw", "lora.target_modules=all-linear")
    (first, _) = ranked(tmp_path)
    assert first.values == {"target_modules": "all-linear", "optim.name": "adamw"}
    assert first.name == "target_modules=all-linear optim.name=adamw"


def test_csv_and_json_hold_every_row(tmp_path: Path) -> None:
    save_record(tmp_path / "a", 0.75, "lora.target_modules=[query,value]")
    save_record(tmp_path / "b", 0.0, "lora.target_modules=all-linear", status="failed")
    rows = ranked(tmp_path)
    header, first, second = to_csv(rows).splitlines()
    assert header.startswith("target_modules,n,trainable,seconds,val/accuracy,val/accuracy_std,val/accuracy_best")
    assert first.startswith('"[query,value]",1,632068,10.0,0.75,,0.75,0.74,,0.74,False,')
    assert second.startswith("all-linear,0,632068,,,,")
    found = json.loads(json.dumps([row.to_dict() for row in rows]))
    assert found[0]["runs"] == [{"run": str(tmp_path / "a"), "status": "finished", "seed": 0}]
    assert found[1]["val/accuracy"] is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "no such directory"),
        ("", "no run in it"),
    ],
)
def test_a_directory_without_a_run_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_runs([tmp_path / name])


def test_a_run_with_a_damaged_record_is_listed_beside_the_others(tmp_path: Path) -> None:
    for seed in (0, 1):
        save_record(tmp_path / f"r1-{seed}", 0.9, "lora.r=1", f"seed={seed}")
        save_record(tmp_path / f"r2-{seed}", 0.8, "lora.r=2", f"seed={seed}")
    (tmp_path / "r1-1" / "result.json").write_text("{")
    (tmp_path / "r2-1" / "result.json").write_text('{"seed": 1}')
    (tmp_path / "r2-1" / "config.yaml").write_text("{")
    rows = ranked(tmp_path)
    assert [(row.name, row.n, row.not_counted) for row in rows] == [
        ("r=1", 1, "1 damaged"),  # its config.yaml says which configuration it is of
        ("r=2", 1, ""),
        ("r2-1", 0, "1 damaged"),
    ]
    assert [row.values for row in rows] == [{"r": 1}, {"r": 2}, {"r": None}]
    (_, record) = rows[2].runs[0]
    assert record.error is not None
    assert record.error.startswith(f"{tmp_path / 'r2-1' / 'result.json'}: not a record of this version: ")
    assert record.error.endswith(f". To run it again, delete {tmp_path / 'r2-1'}")


def test_only_damaged_records_are_ranked_too(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").mkdir()
    (row,) = ranked(tmp_path)
    assert (row.name, row.n, row.not_counted) == ("a", 0, "2 damaged")
