"""A study: its points planned against the budget, its trials drawn, pruned, failed and repeated."""

from pathlib import Path
from typing import Any

import pytest

from lora_agnews.config.compose import compose_study
from lora_agnews.errors import RunPruned, UserError
from lora_agnews.results.ranking import find_runs
from lora_agnews.results.record import RunResult
from lora_agnews.sweeps import study
from lora_agnews.sweeps.progress import SweepProgress
from lora_agnews.sweeps.run_study import run_study
from lora_agnews.sweeps.study import Study
from tests.commands import ROOT
from tests.studies import statuses, study_in, study_of

STUDIES = sorted(path.stem for path in (ROOT / "conf" / "study").glob("*.yaml"))


LARGE = ("heads", "reference")  # seconds


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in STUDIES]
)
def test_the_shipped_studies_can_be_built(name: str) -> None:
    shipped = Study(compose_study([f"study={name}"]))
    assert shipped.num_runs
    assert shipped.config.overrides.count("data.split_seed=0") == 1  # all seeds validate on the same rows
    assert all(not isinstance(budget, Exception) for _, budget in shipped.budgets)


def test_points_over_the_budget_are_no_trials(short_run: list[str], tmp_path: Path) -> None:
    found = Study(study_of(tmp_path, "budget.max_trainable=80000", *short_run))
    assert [(point["lora.r"], budget.fits) for point, budget in found.budgets] == [(1, True), (4, False)]
    assert found.points == [{"lora.r": 1}]
    random = study_of(tmp_path, "budget.max_trainable=80000", "sampler=random", "trials=2", *short_run)
    with pytest.raises(UserError, match="200 random points gave 1 that fit the budget"):
        Study(random)


def test_random_points_that_cannot_be_built_are_left_out(short_run: list[str], tmp_path: Path) -> None:
    config = study_of(tmp_path, "lora.init=orthogonal", "sampler=random", "trials=2", *short_run)
    config.space = {"lora.r": [1, 2, 4]}
    assert sorted(point["lora.r"] for point in Study(config).points) == [2, 4], "orthogonal needs an even r"
    config.space = {"lora.r": [1, 2]}
    with pytest.raises(UserError, match=r"gave 1 that fit the budget\. One that can't be built: .*orthogonal"):
        Study(config)


@pytest.mark.slow
def test_a_study_of_tpe_draws_as_many_as_are_wanted_and_counts_none_over_the_budget(
    short_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["sampler=tpe", "trials=3", "seeds=[0]", "minimize_parameters=true", "budget.max_trainable=90000"]
    config = study_of(tmp_path, *lines, *short_run)
    config.space = {"lora.r": {"low": 1, "high": 5}, "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    assert run_study(config, []) == 0
    trials = study_in(tmp_path).trials
    done = [trial for trial in trials if trial.values]
    over = [trial for trial in trials if "over" in trial.user_attrs]
    assert (len(done), len(done) + len(over)) == (3, len(trials))
    assert all(trial.values[1] <= 90_000 for trial in done)
    assert len(find_runs([tmp_path])) == 3
    assert len({tuple(trial.params.values()) for trial in trials}) == len(trials), "a seed for each trial"
    odd = study_of(tmp_path / "odd", "sampler=tpe", "trials=4", "seeds=[0]", "lora.init=orthogonal", *short_run)
    odd.space = {"lora.r": [1, 2]}
    assert run_study(odd, []) == 0
    states = {trial.params["lora.r"]: trial.state.name for trial in study_in(tmp_path / "odd").trials}
    assert states == {1: "FAIL", 2: "COMPLETE"}, "orthogonal needs an even r: told, and the study goes on"
    monkeypatch.setattr(study, "DRAWS_PER_POINT", 3)
    all_over = study_of(tmp_path / "all_over", *lines, *short_run)
    all_over.space = {"lora.r": {"low": 50, "high": 60}}
    with pytest.raises(UserError, match="3 points in a row are over the budget"):
        run_study(all_over, [])


@pytest.mark.slow
def test_a_point_that_falls_behind_is_pruned(short_run: list[str], tmp_path: Path) -> None:
    config = study_of(tmp_path, "pruner=median", "seeds=[0]", *short_run)
    config.space = {"optim.lr": [5e-3, 4e-3, 3e-3, 2e-3, 1e-3, 6e-3, 1e-9]}  # the last one learns nothing
    assert run_study(config, []) == 0
    states = [trial.state.name for trial in study_in(tmp_path).trials]
    assert states[-1] == "PRUNED"
    (given_up,) = [result for _, result in find_runs([tmp_path]) if result.status == "interrupted" and
                   result.config["optim"]["lr"] == 1e-9]  # fmt: skip
    assert given_up.error == RunPruned.MESSAGE
    assert "test/accuracy" not in given_up.metrics


@pytest.mark.slow
def test_ctrl_c_keeps_the_trial_for_the_next_start(
    short_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = SweepProgress.run, iter(range(9))

    def interrupted(*arguments: Any) -> RunResult:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return run(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SweepProgress, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_study(study_of(tmp_path, *short_run), [])
    assert run_study(study_of(tmp_path, *short_run), []) == 0
    assert set(statuses(tmp_path)) == {f"r={r},seed={seed}" for r in (1, 4) for seed in (0, 1)}
