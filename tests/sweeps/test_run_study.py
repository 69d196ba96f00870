"""A study is run to its end, ranked and reported, and continued by the same call."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_agnews.errors import UserError
from lora_agnews.results.ranking import find_runs
from lora_agnews.results.record import RunResult
from lora_agnews.results.row import TEST
from lora_agnews.sweeps.progress import SweepProgress
from lora_agnews.sweeps.run_study import _gpu_of_each, _run_workers, run_study
from lora_agnews.terminal import console
from tests.files_of_rows import write_labelled
from tests.records import save_record
from tests.studies import statuses, study_in, study_of


def test_a_study_runs_its_points_once_and_ranks_them(short_run: list[str], tmp_path: Path, capfd: Any) -> None:
    config = study_of(tmp_path, *short_run)
    assert run_study(config, []) == 0
    assert set(statuses(tmp_path)) == {f"r={r},seed={seed}" for r in (1, 4) for seed in (0, 1)}
    assert set(statuses(tmp_path).values()) == {"finished"}
    assert "4/4 done" in capfd.readouterr().out
    assert (tmp_path / "leaderboard.csv").exists()
    assert (tmp_path / "report.html").exists()
    times = {path: (path / "result.json").stat().st_mtime_ns for path, _ in find_runs([tmp_path])}
    assert run_study(study_of(tmp_path, *short_run), []) == 0
    assert times == {path: (path / "result.json").stat().st_mtime_ns for path, _ in find_runs([tmp_path])}
    with pytest.raises(UserError, match="has other overrides"):
        run_study(study_of(tmp_path, *short_run, "optim.lr=1e-3"), [])
    values = [trial.value for trial in study_in(tmp_path).trials]
    means = [[r.metrics["val/accuracy"] for _, r in find_runs([tmp_path]) if r.config["model"]["lora"]["r"] == each]
             for each in (1, 4)]  # fmt: skip
    assert values == [pytest.approx(sum(each) / 2) for each in means]


def test_a_study_is_refused_if_the_rows_of_its_runs_have_changed(
    short_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labelled(tmp_path / "few.csv", 53)
    lines = [*short_run, f"data.train_file={tmp_path}/few.csv"]
    save_record(tmp_path / "study" / "r=1", 0.9, "model=tiny", f"data.train_file={tmp_path}/few.csv")
    record = RunResult.load(tmp_path / "study" / "r=1")
    record.data["fingerprints"] = {"train": "other rows", "test": None}
    record.save(tmp_path / "study" / "r=1")
    with pytest.raises(UserError, match=r"few\.csv have changed since that run"):
        run_study(study_of(tmp_path / "study", *lines), [])
    assert not (tmp_path / "study" / "study.db").exists(), "before anything begins"


def test_a_study_tests_its_winner_and_the_rest_if_all_are_asked_for_later(
    short_run: list[str], tmp_path: Path, capfd: Any
) -> None:
    (train_file,) = [line for line in short_run if line.startswith("data.train_file=")]
    lines = [*short_run, train_file.replace("train", "test")]
    assert run_study(study_of(tmp_path, *lines), []) == 0
    first, *others = (line.split(",") for line in (tmp_path / "leaderboard.csv").read_text().splitlines()[1:])
    tested = {path.name.partition(",")[0] for path, result in find_runs([tmp_path]) if TEST in result.metrics}
    assert tested == {f"r={first[0]}"}
    assert len(others) == 1
    assert run_study(study_of(tmp_path, *lines, "test=all"), []) == 0, "it is the same study"
    assert all(TEST in result.metrics for _, result in find_runs([tmp_path]))
    assert capfd.readouterr().out.count("done before") == 0


def test_a_study_whose_trials_are_in_a_journal_runs_its_points_once(short_run: list[str], tmp_path: Path) -> None:
    line = f"storage=journal:{tmp_path}/study.journal"
    for folder in ("here", "there"):
        assert run_study(study_of(tmp_path / folder, line, *short_run), []) == 0
    assert set(statuses(tmp_path / "here").values()) == {"finished"}
    assert len(statuses(tmp_path / "here")) == 4
    assert not list((tmp_path / "there").glob("r=*")), "nothing is left for another directory"


def test_sigterm_is_passed_on_to_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def terminated(text: object) -> Iterator[None]:
        sys.exit(143)
        yield

    monkeypatch.setattr(console, "live_line", terminated)
    began = time.monotonic()
    with pytest.raises(SystemExit):
        _run_workers([{}, {}], [sys.executable, "-c", "import time; time.sleep(60)"], SweepProgress(tmp_path, 1))
    assert time.monotonic() - began < 30


def test_workers_that_are_asked_to_use_the_cpu_need_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[dict[str, str]]] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("lora_agnews.sweeps.run_study._run_workers", lambda gpus, *_: given.append(gpus) or 0)
    config = study_of(tmp_path, "model=tiny", "trainer.accelerator=cpu", "workers=2")
    run_study(config, [])
    assert given == [[{}, {}]]


def test_each_worker_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _gpu_of_each(2) == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    with pytest.raises(UserError, match="workers=3: each worker needs its own GPU and there are 2; use workers=2"):
        _gpu_of_each(3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert _gpu_of_each(1) == [{"CUDA_VISIBLE_DEVICES": "5"}]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert _gpu_of_each(3) == [{}, {}, {}]
