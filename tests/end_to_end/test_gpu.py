"""Runs on an NVIDIA GPU in half precision: `pytest -m gpu -n 0`. The same tests run on a CPU in float32 by default."""

import copy
import csv
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lora_agnews.config.schema import TrainConfig
from lora_agnews.inference.classifier import Classifier, Model, open_run
from lora_agnews.results.record import RunResult, Status
from tests.files_of_rows import TEST_TEXTS
from tests.resuming import kill, remains, train

ON_GPU = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no NVIDIA GPU"))
PLACES = [
    pytest.param(("cpu", "32-true"), id="cpu"),
    pytest.param(("cuda", "16-mixed"), id="16-mixed", marks=ON_GPU),
    pytest.param(("cuda", "bf16-mixed"), id="bf16-mixed", marks=ON_GPU),
]
ROWS, STEPS = 192 * 2, 12 * 2


@pytest.fixture(scope="module", params=PLACES)
def config(request: pytest.FixtureRequest, short_config: TrainConfig) -> TrainConfig:
    """Two epochs of 12 steps on one device in one precision."""
    changed = copy.deepcopy(short_config)
    changed.trainer.accelerator, changed.trainer.precision = request.param
    changed.trainer.early_stopping_patience = 0
    changed.optim.schedule = "constant"  # a schedule warns if 16-mixed skips the first step
    return changed


@pytest.fixture(scope="module")
def run_dir(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not interrupted."""
    folder = tmp_path_factory.mktemp("device") / "run"
    result = train(folder, config)
    assert result.status == Status.FINISHED, result.error
    return folder


@pytest.fixture
def _deterministic_until_here() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def test_a_run_learns_on_its_device_in_its_precision(config: TrainConfig, run_dir: Path) -> None:
    result = RunResult.load(run_dir)
    device = "cuda:0" if config.trainer.accelerator == "cuda" else "cpu"
    assert (result.environment["device"], result.environment["precision"]) == (device, config.trainer.precision)
    assert all(map(math.isfinite, result.metrics.values()))
    with (run_dir / "metrics.csv").open(newline="") as stream:
        losses = [float(row["train/loss"]) for row in csv.DictReader(stream) if row["train/loss"]]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    # The loss scale begins high, and each step that overflows halves it.
    assert result.throughput["skipped_steps"] <= (6 if config.trainer.precision == "16-mixed" else 0)


def test_its_speed_counts_every_row_once(run_dir: Path) -> None:
    result = RunResult.load(run_dir)
    speed, seconds = result.throughput, result.seconds["train"]
    assert speed["samples_per_second"] * seconds == pytest.approx(ROWS)
    assert speed["steps_per_second"] * seconds == pytest.approx(STEPS)
    assert 3 * ROWS < speed["tokens_per_second"] * seconds <= 12 * ROWS, "texts of 4 to 12 tokens"


def test_its_peak_memory_is_that_of_its_device(config: TrainConfig, run_dir: Path) -> None:
    """Of a GPU, only what PyTorch allocates there: frozen layers in half precision and 16 short rows."""
    result = RunResult.load(run_dir)
    most = 256 * 2**20 if config.trainer.accelerator == "cuda" else 4 * 2**30
    assert 2 * result.budget["total"] < result.throughput["peak_memory_bytes"] < most


@pytest.mark.usefixtures("_deterministic_until_here")
def test_a_killed_and_resumed_run_is_the_uninterrupted_one(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = copy.deepcopy(config)
    exact.trainer.deterministic, exact.trainer.checkpoint_every = True, 1
    whole = train(tmp_path / "whole", exact)
    assert whole.status == Status.FINISHED, whole.error
    kill(monkeypatch, "training_step", 20, tmp_path / "killed", exact)
    resumed = train(tmp_path / "killed", exact, tmp_path / "killed")
    assert (resumed.status, resumed.metrics) == (Status.FINISHED, whole.metrics), resumed.error
    torch.testing.assert_close(remains(tmp_path / "killed"), remains(tmp_path / "whole"), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of the compiler, different on each device
def test_a_compiled_run_gives_the_result_of_an_eager_one_and_its_speed_is_without_the_compilation(
    config: TrainConfig, run_dir: Path, tmp_path: Path
) -> None:
    changed = copy.deepcopy(config)
    changed.trainer.compile = True
    compiled, eager = train(tmp_path, changed), RunResult.load(run_dir)
    assert compiled.status == Status.FINISHED, compiled.error
    assert compiled.metrics["val/loss"] == pytest.approx(eager.metrics["val/loss"], abs=0.05)
    training, compilation = compiled.seconds["train"], compiled.seconds["compile"]
    assert 1 < compilation < training
    assert compiled.throughput["samples_per_second"] == pytest.approx(ROWS / (training - compilation))


@pytest.mark.parametrize("half", [False, True], ids=["float32", "half"])
def test_the_run_answers_on_its_device_as_on_a_cpu(config: TrainConfig, run_dir: Path, half: bool) -> None:
    run, texts = open_run(run_dir), TEST_TEXTS[:64]
    expected = Classifier([Model(run, torch.device("cpu"))]).probabilities(texts)
    found = Classifier([Model(run, torch.device(config.trainer.accelerator), half=half)]).probabilities(texts)
    assert abs(found - expected).max() < (0.05 if half else 1e-3)
