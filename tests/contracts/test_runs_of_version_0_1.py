"""Run directories of version 0.1 can still be evaluated, exported, resumed and ranked.

tests/runs_of_0_1 has two runs of one configuration and seed, made by version 0.1 at commit f2dc537: one finished,
the other was killed after two of its eight steps.
"""

import shutil
from pathlib import Path

import pytest

from lora_agnews.config.compose import load_config_file
from lora_agnews.inference.classifier import open_run
from lora_agnews.inference.evaluation import evaluate, load_in_run_precision, rows_to_evaluate
from lora_agnews.inference.export import MAX_DIFFERENCE, export
from lora_agnews.results.ranking import find_runs, rank
from lora_agnews.results.record import RunResult, Status
from lora_agnews.training.run import run
from tests.commands import ROOT

RUNS = ROOT / "tests" / "runs_of_0_1"
FINISHED = RUNS / "finished"


def test_evaluate_reproduces_the_metrics_of_its_record() -> None:
    opened = open_run(FINISHED)
    found, _ = evaluate(load_in_run_precision(opened), rows_to_evaluate(opened, None))
    recorded = {key: value for key, value in opened.result.metrics.items() if key.startswith("test/")}
    assert {key: found.metrics[key] for key in recorded} == pytest.approx(recorded, abs=1e-6)


def test_export_gives_the_logits_of_the_run(tmp_path: Path) -> None:
    assert export(open_run(FINISHED), "merged", tmp_path / "merged", force=False).difference <= MAX_DIFFERENCE
    assert (tmp_path / "merged" / "model.safetensors").is_file()


def test_resume_ends_like_the_run_that_was_not_killed(tmp_path: Path) -> None:
    run_dir = shutil.copytree(RUNS / "interrupted", tmp_path / "run")
    config = load_config_file(run_dir / "config.yaml")
    config.resume, config.data.cache_dir = str(run_dir), None
    result = run(config, run_dir)
    assert result.status == Status.FINISHED
    recorded = RunResult.load(FINISHED).metrics
    assert {key: result.metrics[key] for key in recorded} == pytest.approx(recorded, abs=1e-6)
    (row,) = rank(find_runs([run_dir]))
    assert not row.paired


def test_ranking_counts_the_finished_run_and_names_the_other_one() -> None:
    (row,) = rank(find_runs([RUNS]))
    assert (row.n, row.not_counted, row.trainable) == (1, "1 interrupted", 3_076)
    assert row.mean() == RunResult.load(FINISHED).metrics["val/accuracy"]
