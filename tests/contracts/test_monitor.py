"""Everything that chooses follows the monitored metric: best.ckpt, early stopping, pruning, rankings and studies."""

import json
from pathlib import Path

from tests.commands import run_python

# The constant is changed before anything else is imported, as an edit of results/monitor.py would.
BY_LOSS = """
import json, sys
from pathlib import Path

from lora_agnews.results.monitor import MONITOR

object.__setattr__(MONITOR, "key", "val/loss")
object.__setattr__(MONITOR, "mode", "min")

import torch
from lora_agnews.config.compose import compose_config, compose_study
from lora_agnews.results.ranking import find_runs, rank
from lora_agnews.results.record import RunResult
from lora_agnews.sweeps.study import Study
from lora_agnews.terminal import console
from lora_agnews.training.metrics import ClassificationMetrics
from lora_agnews.training.in_sweep import InSweep
from lora_agnews.training.run import run

folder = Path(sys.argv[1])
validations = iter([(0.9, 0.1), (0.5, 0.2), (0.7, 0.3), (0.8, 0.4), (0.4, 0.5)])  # loss and accuracy
compute = ClassificationMetrics.compute


def scripted(metrics, split):
    found = compute(metrics, split)
    if split == "val":
        found |= dict(zip(("val/loss", "val/accuracy"), next(validations)))
    return found


def should_prune(step, score):
    asked.append(round(score, 6))
    return False


ClassificationMetrics.compute, asked = scripted, []
config = compose_config([*sys.argv[2:], "trainer.early_stopping_patience=2"])
(folder / "run").mkdir()
with console.quiet_output():
    result = run(config, folder / "run", InSweep(should_prune))
for name, loss, accuracy in (("low", 0.3, 0.4), ("high", 0.6, 0.8)):
    (folder / "ranked" / name).mkdir(parents=True)
    config = compose_config([f"seed=0", f"lora.r={len(name)}"])
    metrics = {"val/loss": loss, "val/accuracy": accuracy}
    RunResult.of(config, status="finished", metrics=metrics, seconds={"total": 1.0}).save(folder / "ranked" / name)
study = Study(compose_study(["study=smoke", f"dir={folder / 'study'}"]))
study.folder.mkdir()
study.open()
best = torch.load(folder / "run" / "checkpoints" / "best.ckpt", weights_only=True)
print(json.dumps({
    "status": result.status,
    "metrics": {key: result.metrics[key] for key in ("val/loss", "val/accuracy")},
    "best_step": best["global_step"],
    "asked": asked,
    "ranking": [row.best[0].name for row in rank(find_runs([folder / "ranked"]))],
    "direction": study.study.direction.name,
}))
"""


def test_with_the_loss_as_the_monitored_metric_everything_minimises_it(short_run: list[str], tmp_path: Path) -> None:
    lines = [*short_run, "trainer.max_epochs=5"]
    done = run_python("-W", "ignore", "-c", BY_LOSS, str(tmp_path), *lines)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "status": "stopped_early",
        "metrics": {"val/loss": 0.5, "val/accuracy": 0.2},
        "best_step": 6,  # the second of the epochs of 3 steps
        "asked": [0.9, 0.5, 0.7, 0.8],
        "ranking": ["low", "high"],
        "direction": "MINIMIZE",
    }
