"""A row of a leaderboard: the standard error of its mean."""

import math
from pathlib import Path

import pytest

from tests.records import ranked, save_record


def test_with_one_seed_the_standard_error_is_that_of_a_share_of_the_rows(tmp_path: Path) -> None:
    save_record(tmp_path / "1", 0.9, "lora.r=1")
    save_record(tmp_path / "2", 0.886, "lora.r=2")
    save_record(tmp_path / "4", 0.884, "lora.r=4")
    rows = ranked(tmp_path)
    assert rows[0].standard_error == pytest.approx(math.sqrt(0.9 * 0.1 / 400))  # 0.015
    assert [row.tied for row in rows] == [False, True, False]


def test_with_several_seeds_the_standard_error_is_that_of_their_mean(tmp_path: Path) -> None:
    for seed, score in enumerate((0.90, 0.92, 0.94)):
        save_record(tmp_path / str(seed), score, f"seed={seed}")
    assert ranked(tmp_path)[0].standard_error == pytest.approx(0.02 / math.sqrt(3))
