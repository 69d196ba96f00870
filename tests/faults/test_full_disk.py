"""A disk that fills up at any moment of a run: one message, `failed` in the record, and an exact continuation."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_agnews.config.schema import TrainConfig
from lora_agnews.results.record import RunResult
from tests.commands import SHORT, run_python
from tests.faults.processes import in_child
from tests.faults.test_kill_points import outcome
from tests.resuming import train

pytestmark = pytest.mark.faults
SIZE, LEVELS = 8 << 20, 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_run_on_a_disk_that_fills_up_has_failed_and_is_continued_exactly(
    short_config: TrainConfig, disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "whole", short_config)
    expected, log = outcome(tmp_path / "whole"), tmp_path / "log"
    needed = sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file())
    failed, exact, wrong = 0, 0, []
    for level in range(LEVELS):
        run_dir, fill = disk / str(level), disk / "fill"
        left = needed * level // LEVELS
        fill.write_bytes(b"\0" * (SIZE - left - 8192))
        ended = in_child(lambda: train(run_dir, short_config), log)  # noqa: B023
        said = log.read_text()
        fill.unlink()
        recorded = (run_dir / "result.json").exists()
        failed += recorded and RunResult.load(run_dir).status == "failed"
        if ended.status or said.count("error: the disk is full") != 1 or "Traceback" in said:
            wrong.append(f"{left:,} bytes left: status {ended.status}, {said[-300:]}")
        saved = (run_dir / "config.yaml").exists()
        in_child(lambda: train(run_dir, short_config, run_dir if saved else None), log)  # noqa: B023
        exact += outcome(run_dir) == expected
        subprocess.run(["rm", "-r", run_dir], check=True)
    with capfd.disabled():
        print(f"\nfull disk: {LEVELS} runs, {failed} recorded as failed, {exact} continued bit for bit")
    assert not wrong, "\n".join(wrong)
    assert exact == LEVELS
    assert failed == LEVELS, "none says that it is running"


@pytest.mark.parametrize("line", [["train.py"], ["train.py", "-m"], ["sweep.py"]], ids=" ".join)
def test_a_disk_that_is_too_small_is_refused_before_anything_is_created(line: list[str], disk: Path) -> None:
    where = {"train.py": f"hydra.run.dir={disk}/x", "sweep.py": f"dir={disk}/x"}[line[0]]
    where = where.replace("run", "sweep") if "-m" in line else where
    done = run_python(*line, "experiment=quickstart" if line[0] == "train.py" else "study=smoke", where)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "has 8 MB left, and a run takes up to 64 MB; choose another" in done.stderr
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("temporary", ["full", "missing"])
def test_a_run_and_its_uses_need_no_temporary_directory(temporary: str, disk: Path, tmp_path: Path) -> None:
    """TMPDIR is full, or does not exist. W&B is offline, because it writes there, too."""
    if temporary == "full":
        (disk / "fill").write_bytes(b"\0" * (SIZE - 4096))
    environment = {"TMPDIR": str(disk if temporary == "full" else tmp_path / "nowhere")}
    (tmp_path / "news.txt").write_text("Oil prices rise\n")
    run_dir = tmp_path / "run"
    commands = [
        ["train.py", *SHORT, "logger.wandb=offline", f"hydra.run.dir={run_dir}"],
        ["-m", "lora_agnews", "evaluate", str(run_dir)],
        ["-m", "lora_agnews", "predict", str(run_dir), str(tmp_path / "news.txt"), "-o", str(tmp_path / "out.csv")],
        ["-m", "lora_agnews", "export", str(run_dir), "-o", str(tmp_path / "exported")],
    ]
    for command in commands:
        done = run_python(*command, **environment)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr[-2000:]
