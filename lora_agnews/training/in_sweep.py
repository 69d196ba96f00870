"""What a sweep asks of one of its runs."""

from collections.abc import Callable
from dataclasses import dataclass

ShouldPrune = Callable[[int, float], bool]  # number of the validation, monitored metric -> stop the run?


@dataclass(frozen=True)
class InSweep:
    """The place of a run in a sweep. The defaults are those of a single run."""

    should_prune: ShouldPrune | None = None  # called after each validation
    is_tested: bool = True  # open the test rows
    runs: int = 1  # of the whole sweep, if its duration should be estimated
    workers: int = 1  # that share these runs
