"""What the runs of a leaderboard took together, compared with as many separate runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from lora_agnews.results.record import RunResult, Status
from lora_agnews.results.row import Row


@dataclass(frozen=True)
class Cost:
    """Wall time in seconds, summed over the runs. `separate` is an estimate for as many separate runs."""

    seconds: float
    separate: float
    runs: int

    def __str__(self) -> str:
        spent = f"{self.seconds:,.0f} s for {self.runs} run{'' if self.runs == 1 else 's'}"
        if self.runs < 2 or self.seconds > 0.995 * self.separate:
            return spent
        return f"{spent}; separate runs would take about {self.separate:,.0f} s"


def cost_of(rows: Sequence[Row]) -> Cost:
    """Add up the seconds of all runs, without those over the budget.

    A separate run would open its test rows and compute its own frozen layers: if a run did not, the mean time that this
    took in the others is added. A run that was pruned or interrupted would take as long as a mean successful one.
    """
    results = [result for row in rows for _, result in row.runs if result.status != Status.OVER_BUDGET]
    test, prefix = _mean_seconds(results, "test"), _mean_seconds(results, "prefix")

    def alone(result: RunResult) -> float:
        shares_prefix = result.config["model"].get("prefix") == "cached" and not result.seconds.get("prefix")
        return _total(result) + (test if result.awaits_test else 0.0) + (prefix if shares_prefix else 0.0)

    complete = [alone(result) for result in results if result.succeeded]
    others = [result for result in results if not result.succeeded]
    cut = [mean(complete) if complete and each.status == Status.INTERRUPTED else _total(each) for each in others]
    return Cost(sum(map(_total, results)), sum(complete) + sum(cut), len(results))


def _total(result: RunResult) -> float:
    return result.seconds.get("total", 0.0)


def _mean_seconds(results: Sequence[RunResult], part: str) -> float:
    found = [result.seconds[part] for result in results if result.seconds.get(part)]
    return mean(found) if found else 0.0
