"""The cost of runs together, and what as many separate runs would have taken."""

from pathlib import Path

import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.results.cost import cost_of
from lora_agnews.results.record import RunResult, Status
from lora_agnews.results.row import Row
from tests.records import ranked, save_record

CONFIG = compose_config(["model=tiny"])


def rows_of(*results: RunResult) -> list[Row]:
    return [Row({}, [(None, result)]) for result in results]  # type: ignore[list-item]


def finished(is_tested: bool = True, cached: bool = False, **seconds: float) -> RunResult:
    result = RunResult.of(CONFIG, status=Status.FINISHED, seconds=seconds, data={"test": 100})
    result.metrics = {"test/accuracy": 0.5} if is_tested else {}
    result.config["model"]["prefix"] = "cached" if cached else "live"
    return result


def ended(status: Status, **seconds: float) -> RunResult:
    return RunResult.of(CONFIG, status=status, seconds=seconds)


@pytest.mark.parametrize(
    ("results", "seconds", "separate", "text"),
    [
        ([], 0, 0, "0 s for 0 runs"),
        ([finished(total=9.6)], 9.6, 9.6, "10 s for 1 run"),
        ([finished(total=10.0), finished(total=20.0)], 30, 30, "30 s for 2 runs"),
        (
            [finished(total=12.0, test=2.0), finished(total=10.0, is_tested=False)],
            22,
            24,
            "22 s for 2 runs; separate runs would take about 24 s",
        ),
        (
            [
                finished(total=1_000.0, prefix=900.0, cached=True),
                finished(total=100.0, cached=True),
                finished(total=100.0, cached=True),
            ],
            1_200,
            3_000,
            "1,200 s for 3 runs; separate runs would take about 3,000 s",
        ),
        (
            [finished(total=30.0), finished(total=50.0), ended(Status.INTERRUPTED, total=10.0)],
            90,
            120,
            "90 s for 3 runs; separate runs would take about 120 s",
        ),
        ([ended(Status.INTERRUPTED, total=10.0), ended(Status.RUNNING)], 10, 10, "10 s for 2 runs"),
        ([finished(total=30.0), ended(Status.FAILED, total=5.0), ended(Status.OVER_BUDGET)], 35, 35, "35 s for 2 runs"),
    ],
)
def test_the_cost_of_a_sweep(results: list[RunResult], seconds: float, separate: float, text: str) -> None:
    found = cost_of(rows_of(*results))
    assert (found.seconds, found.separate) == pytest.approx((seconds, separate))
    assert str(found) == text


def test_the_cost_of_a_point_is_that_of_all_its_runs(tmp_path: Path) -> None:
    for seed, status in ((0, "finished"), (1, "finished"), (2, "failed")):
        save_record(tmp_path / str(seed), 0.5, f"seed={seed}", status=status)  # 10, 11 and 12 seconds
    (row,) = ranked(tmp_path)
    assert (row.cost, row.seconds, row.to_dict()["cost"]) == (33.0, 10.5, 33.0)
