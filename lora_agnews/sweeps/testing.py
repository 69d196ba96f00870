"""The test set of a sweep: it is opened for the runs that validation selects, when the sweep is concluded."""

from collections.abc import Sequence
from pathlib import Path

from lora_agnews.config.choices import SweepTest
from lora_agnews.results.row import Row
from lora_agnews.sweeps.point import free_memory
from lora_agnews.terminal import console
from lora_agnews.training.in_process import log_file


def runs_to_test(rows: Sequence[Row], tested: SweepTest) -> list[Path]:
    """Return the runs that the rows of a leaderboard, best first, select for a test and that are not tested yet."""
    winner, ties = rows[:1], [row for row in rows[1:] if row.tied]
    chosen = {SweepTest.NONE: [], SweepTest.WINNER: winner, SweepTest.TIED: [*winner, *ties], SweepTest.ALL: rows}
    return [folder for row in chosen[tested] for folder, result in row.counted if result.awaits_test]


def open_test_rows(folders: Sequence[Path]) -> bool:
    """Test finished runs, one after another. Returns whether all could be tested; a note says why one could not.

    Raises: KeyboardInterrupt.
    """
    if not folders:
        return True
    from lora_agnews.training.testing import add_test  # imports torch

    failed = 0
    for number, folder in enumerate(folders, 1):
        console.print_temporarily(f"[{number}/{len(folders)}] testing {folder.name}")
        try:
            with log_file(folder):
                add_test(folder)
        except Exception as error:
            failed += 1
            console.note(f"{folder.name} is not tested: {error}. The same command tries it again")
        finally:
            free_memory()
    return not failed
