"""Errors name the problem and the remedy, and decide the exit status of a command."""

import pytest

from lora_agnews.errors import BudgetExceeded, FetchError, RunLocked, RunPruned, UserError
from lora_agnews.terminal.console import exit_on_error


def test_a_fetch_error_names_the_repository_and_two_ways_to_train_without_the_hub() -> None:
    error = FetchError("owner/name", "dataset", "the hub can't be reached")
    assert error.what == "could not fetch the dataset owner/name: the hub can't be reached"
    assert str(error).startswith(f"{error.what}.\n")
    for overrides in ("experiment=quickstart", "model.name=/local/dir data.train_file=train.csv"):
        assert overrides in str(error)


def test_a_pruned_run_says_why_in_the_words_by_which_studies_recognise_it() -> None:
    assert str(RunPruned()) == RunPruned.MESSAGE


@pytest.mark.parametrize(
    ("error", "status"),
    [(UserError("x"), 2), (RunLocked("x"), 2), (FetchError("a/b", "model", "x"), 1), (BudgetExceeded("x"), None)],
)
def test_what_the_user_gave_has_status_2_and_the_environment_status_1(error: Exception, status: int | None) -> None:
    """Whoever calls `budget.check` handles BudgetExceeded, so that one is not turned into an exit."""
    with pytest.raises(SystemExit if status else BudgetExceeded) as caught, exit_on_error():
        raise error
    assert getattr(caught.value, "code", None) == status
