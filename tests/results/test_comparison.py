"""Differences from the best configuration and McNemar's p-values equal counts by hand; other rows are refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lora_agnews.errors import UserError
from lora_agnews.results.comparison import bootstrap, compare_with_best, mcnemar
from lora_agnews.results.predictions import PREDICTIONS_FILE, RECORD, TEST_PREDICTIONS_FILE, save_predictions
from lora_agnews.results.report import write_report
from tests.commands import command
from tests.messages import check_message
from tests.records import columns_of, ranked, save_record, save_scored


def predictions(correct: str, start: int = 0) -> np.ndarray:
    """Predictions of rows from `start` on; a 1 stands for a correct one."""
    found = np.zeros(len(correct), RECORD)
    found["row"], found["predicted"] = np.arange(start, start + len(correct)), [mark == "0" for mark in correct]
    return found


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        ("1111", "1111", 1.0),
        ("1100", "0011", 1.0),
        ("11111", "00000", 2 / 2**5),
        ("11111100", "00000010", 2 * (1 + 7) / 2**7),
    ],
)
def test_mcnemar_is_a_two_sided_sign_test_of_the_rows_that_differ(first: str, second: str, p: float) -> None:
    assert mcnemar(predictions(first), predictions(second)) == pytest.approx(p)
    assert mcnemar(predictions(second), predictions(first)) == pytest.approx(p)


def test_mcnemar_is_exact_for_thousands_of_rows() -> None:
    found = mcnemar(predictions("1" * 2100 + "0" * 1900), predictions("0" * 2100 + "1" * 1900))
    exact = 2 * sum(math.comb(4000, k) for k in range(1901)) / 2**4000
    assert found == pytest.approx(exact, rel=1e-12)


def test_the_interval_is_that_of_a_bootstrap_over_rows() -> None:
    first, second = "1" * 60 + "0" * 40, "1" * 50 + "0" * 45 + "1" * 5
    found = bootstrap([(predictions(first), predictions(second))])
    difference = np.array(list(first), int) - np.array(list(second), int)
    rng = np.random.default_rng(1)
    means = [difference[rng.integers(100, size=100)].mean() for _ in range(4000)]
    assert found.value == pytest.approx(0.05)
    assert (found.low, found.high) == (
        pytest.approx(np.percentile(means, 2.5), abs=0.011),
        pytest.approx(np.percentile(means, 97.5), abs=0.011),
    )


def test_rows_that_two_seeds_share_are_drawn_once_and_others_separately() -> None:
    once = (predictions("1" * 60 + "0" * 40), predictions("1" * 50 + "0" * 45 + "1" * 5))
    moved = tuple(predictions("".join("10"[mark] for mark in each["predicted"]), start=100) for each in once)
    widths = []
    for pairs in ([once], [once, once], [once, (moved[0], moved[1])]):
        found = bootstrap(pairs)
        assert found.value == pytest.approx(0.05)
        assert found.low is not None
        assert found.high is not None
        widths.append(found.high - found.low)
    assert widths[1] == pytest.approx(widths[0], abs=0.011), "the same rows again tell nothing new"
    assert widths[2] == pytest.approx(widths[0] / math.sqrt(2), abs=0.02)


def save_two(folder: Path, tested: bool = True) -> None:
    """Two configurations with two seeds; r=2 is right in 9 of 10 rows, r=1 in 7 of these 9."""
    for seed in (0, 1):
        for r, correct in ((1, 7), (2, 9)):
            run_dir = folder / f"{r}-{seed}"
            save_scored(run_dir, [row < correct for row in range(10)], f"lora.r={r}", f"seed={seed}")
            if tested:
                columns = columns_of([0] * 4, [0, 0, r % 2, r % 2])
                save_predictions(run_dir, columns, ["text"] * 4, TEST_PREDICTIONS_FILE)


def test_each_configuration_stands_beside_the_best_one(tmp_path: Path) -> None:
    save_two(tmp_path)
    save_record(tmp_path / "failed", 0.99, "lora.r=3", status="failed")
    found = compare_with_best(ranked(tmp_path, by="parameters"))
    assert found.best.values == {"r": 2}
    (other,) = found.others
    assert other.row.values == {"r": 1}
    assert other.validation.accuracy.value == pytest.approx(-0.2)
    assert other.validation.p_values == {0: 0.5, 1: 0.5}
    assert other.test is not None
    assert other.test.accuracy.value == pytest.approx(-0.5)


def test_test_rows_are_compared_only_if_both_were_tested_and_stored_it(tmp_path: Path) -> None:
    save_two(tmp_path / "earlier", tested=False)
    assert compare_with_best(ranked(tmp_path / "earlier")).others[0].test is None
    save_two(tmp_path / "runs")
    for seed in (0, 1):
        record = json.loads((tmp_path / "runs" / f"1-{seed}" / "result.json").read_text())
        del record["metrics"]["test/accuracy"]
        (tmp_path / "runs" / f"1-{seed}" / "result.json").write_text(json.dumps(record))
    assert compare_with_best(ranked(tmp_path / "runs")).others[0].test is None


def test_what_cannot_be_compared_is_refused_with_the_runs_and_the_remedy(tmp_path: Path) -> None:
    def message(*fragments: str) -> None:
        with pytest.raises(UserError) as error:
            compare_with_best(ranked(tmp_path))
        check_message(str(error.value), list(fragments))

    save_scored(tmp_path / "a", [True] * 4, "lora.r=1")
    message("--paired", "there is only one")
    save_scored(tmp_path / "b", [True] * 3, "lora.r=2", "seed=1")
    message(" and ", "no seed in common")
    save_scored(tmp_path / "c", [False] * 3, "lora.r=2")
    message(f"the rows in {PREDICTIONS_FILE} of", "data.val_fraction")
    (tmp_path / "c" / PREDICTIONS_FILE).unlink()
    message(f"{(tmp_path / 'c').resolve()} has no {PREDICTIONS_FILE}", "train it again")


def test_the_command_prints_the_comparison_and_the_report_has_it(tmp_path: Path) -> None:
    save_two(tmp_path / "runs")
    done = command("compare", tmp_path / "runs", "--paired")
    assert done.exit_code == 0, done.output
    for text in ("beside r=2", "r=1", "val", "test", "-0.2000 (", "0: 0.5, 1: 0.5", "exact McNemar"):
        assert text in done.stdout
    found = json.loads(command("compare", tmp_path / "runs", "--paired", "--json").stdout)
    assert found["best"] == {"r": 2}
    assert found["others"][0]["val"]["accuracy"]["value"] == pytest.approx(-0.2)
    refused = command("compare", tmp_path / "runs", "--paired", "--csv")
    assert refused.exit_code == 2
    assert "has no columns for --paired" in refused.stderr
    save_record(tmp_path / "runs" / "old", 0.5, "lora.r=4")
    assert command("compare", tmp_path / "runs", "--paired").exit_code == 2
    write_report(ranked(tmp_path / "runs"), tmp_path / "report.html", "it")
    page = (tmp_path / "report.html").read_text()
    assert "Beside the best configuration" in page
    assert "-0.2000 (" in page
    assert "Configurations without predictions of the same rows: 1." in page
