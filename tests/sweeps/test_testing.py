"""Validation selects the runs of a sweep that are tested, and a test that fails is not the end of it."""

from pathlib import Path

import pytest

from lora_agnews.config.choices import SweepTest
from lora_agnews.errors import UserError
from lora_agnews.files.locks import run_lock
from lora_agnews.results.record import RunResult
from lora_agnews.results.row import TEST
from lora_agnews.sweeps.progress import conclude
from lora_agnews.sweeps.testing import open_test_rows, runs_to_test
from lora_agnews.training import testing
from tests.records import ranked, save_record


def save_untested(folder: Path, accuracy: float, *overrides: str, status: str = "finished") -> None:
    """Save the record of a run in a sweep whose 100 test rows are closed."""
    save_record(folder, accuracy, "logger.wandb=disabled", *overrides, status=status)
    result = RunResult.load(folder)
    del result.metrics[TEST]
    result.data["test"] = 100
    result.save(folder)


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are tested, in order; every test finds an accuracy of 0.5."""
    names: list[str] = []

    def add_test(run_dir: Path) -> None:
        names.append(run_dir.name)
        result = RunResult.load(run_dir)
        result.metrics[TEST] = 0.5
        result.save(run_dir)

    monkeypatch.setattr(testing, "add_test", add_test)
    return names


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """r=2 is best, r=4 is tied with it, r=1 is behind, each with two seeds; r=8 has failed."""
    for r, score in ((1, 0.5), (2, 0.9), (4, 0.895)):
        for seed in (0, 1):
            save_untested(tmp_path / f"r={r},seed={seed}", score + seed / 50, f"lora.r={r}", f"seed={seed}")
    save_untested(tmp_path / "r=8,seed=0", 0.99, "lora.r=8", status="failed")
    return tmp_path


ROWS = {r: [f"r={r},seed=0", f"r={r},seed=1"] for r in (1, 2, 4)}


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (SweepTest.WINNER, ROWS[2]),
        (SweepTest.TIED, ROWS[2] + ROWS[4]),
        (SweepTest.ALL, ROWS[2] + ROWS[4] + ROWS[1]),
        (SweepTest.NONE, []),
    ],
)
def test_the_rows_that_are_asked_for_are_tested_with_all_their_seeds(
    sweep: Path, which: SweepTest, expected: list[str]
) -> None:
    assert [folder.name for folder in runs_to_test(ranked(sweep), which)] == expected


def test_a_sweep_tests_its_winner_once_and_a_new_winner_too(sweep: Path, tested: list[str]) -> None:
    for _ in range(2):
        rows, status = conclude(sweep, SweepTest.WINNER)
    assert (tested, status) == (ROWS[2], 1), "one run has failed"
    assert [row.spread(TEST) for row in rows] == ["0.5000 ± 0.0000", "-", "-", "-"]
    save_untested(sweep / "r=16,seed=0", 0.95, "lora.r=16")
    conclude(sweep, SweepTest.WINNER)
    assert tested == [*ROWS[2], "r=16,seed=0"]
    conclude(sweep, SweepTest.ALL)
    assert tested == [*ROWS[2], "r=16,seed=0", *ROWS[4], *ROWS[1]], "the rest of them"


def test_nothing_is_tested_while_another_process_still_works(
    sweep: Path, tested: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    save_untested(sweep / "r=32,seed=0", 0.0, "lora.r=32", status="running")
    with run_lock(sweep / "r=32,seed=0"):
        conclude(sweep, SweepTest.WINNER)
    assert tested == []
    assert "note: another process is still working on a run" in capfd.readouterr().err
    conclude(sweep, SweepTest.WINNER)
    assert tested == ROWS[2], "a run that was killed is not waited for"


def test_a_test_that_fails_is_a_note_and_the_sweep_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def add_test(run_dir: Path) -> None:
        raise UserError("best.ckpt: damaged")

    monkeypatch.setattr(testing, "add_test", add_test)
    for seed in (0, 1):
        save_untested(tmp_path / f"seed={seed}", 0.5, f"seed={seed}")
    rows, status = conclude(tmp_path, SweepTest.WINNER)
    assert (rows[0].n, status) == (2, 1)
    notes = capfd.readouterr().err
    assert "note: seed=0 is not tested: best.ckpt: damaged. The same command tries it again\n" in notes
    assert "note: seed=1 is not tested" in notes
    assert (tmp_path / "leaderboard.csv").exists()


def test_ctrl_c_during_a_test_keeps_the_leaderboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def add_test(run_dir: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(testing, "add_test", add_test)
    save_untested(tmp_path / "a", 0.5)
    with pytest.raises(KeyboardInterrupt):
        conclude(tmp_path, SweepTest.WINNER)
    assert (tmp_path / "leaderboard.csv").exists()


def test_without_runs_to_test_all_is_well() -> None:
    assert open_test_rows([])


def test_a_row_of_which_one_seed_is_tested_shows_its_score_alone(sweep: Path) -> None:
    result = RunResult.load(sweep / ROWS[2][0])
    result.metrics[TEST] = 0.75
    result.save(sweep / ROWS[2][0])
    assert ranked(sweep)[0].spread(TEST) == "0.7500"
