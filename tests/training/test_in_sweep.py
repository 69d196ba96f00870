"""A run that is in no sweep is tested, is not pruned, and estimates its own duration only."""

from lora_agnews.training.in_sweep import InSweep


def test_the_defaults_are_those_of_a_single_run() -> None:
    assert InSweep() == InSweep(should_prune=None, is_tested=True, runs=1, workers=1)
