"""The command line of sweep.py."""

import sys
from pathlib import Path

import pytest

import sweep
from lora_agnews.config.keys import STUDY_RULES
from tests.commands import run_python


def test_sweep_plans_a_study_against_the_budget() -> None:
    done = run_python("sweep.py", "study=heads", "--plan", "model=tiny", "budget.max_trainable=50000")
    assert done.returncode == 0, done.stderr
    assert "points: 9, within the budget: 6, seeds: 3, runs: 18" in done.stdout
    assert "21,428 too many" in done.stdout
    wrong = run_python("sweep.py", "study=head")
    assert wrong.returncode == 2
    assert "did you mean heads" in wrong.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hydra.run.dir=x", "to set that of the study: dir=DIRECTORY"),
        ("+hydra.sweep.dir=x", "to set that of the study: dir=DIRECTORY"),
        ("resume=x", "continues when the same command is started again"),
        ("lora.rr=1", "did you mean lora.r?"),
    ],
)
def test_a_bad_override_is_one_message_with_status_2_and_creates_nothing(
    override: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sweep.py", "study=smoke", override])
    with pytest.raises(SystemExit) as caught:
        sweep.main()
    out, err = capfd.readouterr()
    assert (caught.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {override}: ")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_every_key_of_a_study(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep.py", "--help"])
    with pytest.raises(SystemExit) as caught:
        sweep.main()
    out = capfd.readouterr().out
    assert caught.value.code == 0
    assert [key for key in STUDY_RULES if f"  {key}\n" not in out] == []
    assert "--worker" not in out, "it is for the processes that the command starts"
