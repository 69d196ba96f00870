"""The command line of sweep.py."""

from tests.commands import run_python


def test_sweep_plans_a_study_against_the_budget() -> None:
    done = run_python("sweep.py", "--plan", "study=heads", "model=tiny", "budget.max_trainable=50000")
    assert done.returncode == 0, done.stderr
    assert "9 points, 6 fit x 3 seeds = 18 runs" in done.stdout
    assert "21,428 too many" in done.stdout
    wrong = run_python("sweep.py", "study=head")
    assert wrong.returncode == 2
    assert "did you mean heads" in wrong.stderr
