"""One run of a sweep: skipped, continued or started, and never raising."""

from pathlib import Path

from lora_agnews.config.compose import compose_config
from lora_agnews.results.record import RunResult
from lora_agnews.sweeps.progress import SweepProgress, conclude


def test_a_point_that_cannot_run_is_recorded_with_the_remedy_and_tried_again(
    short_run: list[str], tmp_path: Path
) -> None:
    board = SweepProgress(tmp_path, 2)
    for _ in range(2):
        config = compose_config([*short_run, "lora.target_modules=[quary]"])
        result = board.run(config, tmp_path / "point")
        assert result.status == RunResult.load(tmp_path / "point").status == "failed"
        assert "quary" in (result.error or "")
    assert conclude(tmp_path)[1] == 1
