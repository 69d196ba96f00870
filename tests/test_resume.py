"""A run that was killed and continued is the run that was not: parameters, metrics and curves, bit for bit."""

import copy
import csv
import fcntl
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from safetensors.torch import load_file

from lora_agnews.config.compose import compose_config, hydra_initialized
from lora_agnews.config.messages import quote
from lora_agnews.config.resume import find_run, resumed_config
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError
from lora_agnews.model.encoder import find_encoder, weights_id
from lora_agnews.results.record import RunResult
from lora_agnews.training.checkpoint import read_checkpoint
from lora_agnews.training.run import run
from lora_agnews.training.task import LoRAClassifier

SHORT = [
    "model=tiny", "data.max_length=12", "data.batch_size=16", "trainer.max_epochs=2", "trainer.precision=32-true",
    "trainer.val_check_interval=0.5", "trainer.checkpoint_every=4", "optim.schedule=linear", "lora.dropout=0.3",
    "optim.lr=5e-3", "logger.wandb=disabled",
]  # fmt: skip

SLOW = pytest.mark.slow


class Killed(BaseException):
    """Nothing in the program catches this one, so nothing is saved or tidied up."""


def train(run_dir: Path, config: TrainConfig, resume: Path | None = None) -> RunResult:
    """Start a run, or continue it from a run directory or a checkpoint."""
    run_dir.mkdir(exist_ok=True)
    config = copy.deepcopy(config)
    config.resume = str(resume) if resume else None
    return run(config, run_dir)


def left(run_dir: Path) -> dict[str, Any]:
    """What a run leaves, to be compared bit for bit."""
    with (run_dir / "metrics.csv").open(newline="") as stream:
        curves = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]
    last = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    kept = {
        key: last[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "random", "best", "callbacks")
    }
    kept["callbacks"].pop("Stopwatch")
    return kept | {"adapter": load_file(run_dir / "adapter" / "adapter_model.safetensors"), "curves": curves}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """192 training rows in 12 batches, validated in the middle and at the end of 2 epochs."""
    folder = tmp_path_factory.mktemp("rows")
    with (folder / "few.csv").open("w", newline="") as stream:
        file = csv.writer(stream)
        file.writerow(["text", "label"])
        for label, word in enumerate(("war", "goal", "shares", "chips")):
            file.writerows([f"{word} {'more ' * (i % 7)}{i}", label] for i in range(53))
    files = [f"data.train_file={folder}/few.csv", f"data.test_file={folder}/few.csv", f"data.cache_dir={folder}"]
    return compose_config([*SHORT, *files])


@pytest.fixture(scope="module")
def whole(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and remains of the run that nobody interrupted."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    return train(run_dir, config).metrics, left(run_dir)


def kill(monkeypatch: pytest.MonkeyPatch, hook: str, call: int, run_dir: Path, config: TrainConfig) -> None:
    """Trains until the `call`-th call of a hook of the task, and no further."""
    original, calls = getattr(LoRAClassifier, hook), iter(range(1, call + 1))

    def until(task: LoRAClassifier, *arguments: Any) -> Any:
        if next(calls) == call:
            raise Killed
        return original(task, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LoRAClassifier, hook, until)
        with pytest.raises(Killed):
            train(run_dir, config)


POINTS = [
    ("training_step", 6),  # just before the validation in the middle of an epoch, two steps after a checkpoint
    ("validation_step", 2),  # in the validation at the end of the first epoch
    ("training_step", 13),  # the first step of the second epoch
    ("test_step", 1),  # after the last step
    *(pytest.param("training_step", step, marks=SLOW) for step in (5, 7, 8, 9, 11, 12, 14, 17, 18, 20, 24)),
    *(pytest.param("validation_step", step, marks=SLOW) for step in (1, 3, 4)),
    *(pytest.param("on_train_epoch_end", epoch, marks=SLOW) for epoch in (1, 2)),
]


@pytest.mark.parametrize(
    ("overrides", "hook", "call"),
    [
        (["trainer.max_steps=9"], "test_step", 1),
        (["trainer.accumulate=5", "trainer.val_check_interval=0.4"], "training_step", 7),
        pytest.param(["trainer.max_steps=9"], "training_step", 9, marks=SLOW),
        pytest.param(["trainer.max_steps=20"], "validation_step", 3, marks=SLOW),
        pytest.param(["trainer.accumulate=5", "trainer.val_check_interval=0.4"], "training_step", 17, marks=SLOW),
        pytest.param(["trainer.accumulate=3"], "training_step", 8, marks=SLOW),
        pytest.param(["trainer.val_check_interval=0.6"], "training_step", 14, marks=SLOW),
        pytest.param(
            ["trainer.val_check_interval=0.6", "trainer.checkpoint_every=1000"], "training_step", 15, marks=SLOW
        ),
        pytest.param(["trainer.early_stopping_patience=1"], "test_step", 1, marks=SLOW),
        pytest.param(["trainer.gradient_clip=0.5", "model.lora.init=pissa"], "training_step", 15, marks=SLOW),
    ],
    ids=str,
)
def test_so_it_is_whatever_ends_a_step_an_epoch_or_a_run(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], hook: str, call: int
) -> None:
    files = [f"data.{key}={getattr(config.data, key)}" for key in ("train_file", "test_file", "cache_dir")]
    config = compose_config([*SHORT, *files, *overrides])
    metrics = train(tmp_path / "whole", config).metrics
    kill(monkeypatch, hook, call, tmp_path / "killed", config)
    assert train(tmp_path / "killed", config, resume=tmp_path / "killed").metrics == metrics
    torch.testing.assert_close(left(tmp_path / "killed"), left(tmp_path / "whole"), rtol=0, atol=0)


def test_an_early_stop_is_a_success(config: TrainConfig, tmp_path: Path) -> None:
    never_better = copy.deepcopy(config)
    never_better.optim.lr, never_better.trainer.early_stopping_patience = 1e-12, 1
    result = train(tmp_path, never_better)
    assert (result.status, result.succeeded) == ("stopped_early", True)


def test_an_epoch_that_ends_without_a_validation_is_kept_too(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seldom = copy.deepcopy(config)
    seldom.trainer.checkpoint_every, seldom.trainer.val_check_interval = 1000, 0.6
    kill(monkeypatch, "training_step", 15, tmp_path, seldom)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 13, "an epoch has 12 steps, and its validation comes after 7"


def test_a_run_that_grows_is_the_longer_one(config: TrainConfig, tmp_path: Path) -> None:
    longer = copy.deepcopy(config)
    longer.optim.schedule = "constant"  # a falling rate would have fallen elsewhere
    shorter = copy.deepcopy(longer)
    shorter.trainer.max_epochs = 1
    train(tmp_path / "grown", shorter)
    grown = train(tmp_path / "grown", longer, tmp_path / "grown" / "checkpoints" / "last.ckpt")
    assert grown.metrics == train(tmp_path / "whole", longer).metrics


@pytest.mark.parametrize(("hook", "call"), POINTS)
def test_a_killed_and_continued_run_is_the_uninterrupted_one(
    config: TrainConfig,
    whole: tuple[dict[str, float], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hook: str,
    call: int,
) -> None:
    kill(monkeypatch, hook, call, tmp_path, config)
    torch.manual_seed(call)  # nothing depends on what the process did before
    result = train(tmp_path, config, resume=tmp_path)
    metrics, remains = whole
    assert result.metrics == metrics
    torch.testing.assert_close(left(tmp_path), remains, rtol=0, atol=0)


def test_a_run_is_the_same_before_and_after_another_in_one_process(
    config: TrainConfig, whole: tuple[dict[str, float], dict[str, Any]], tmp_path: Path
) -> None:
    other = copy.deepcopy(config)
    other.seed, other.model.lora.dropout = 1, 0.0
    assert train(tmp_path / "other", other).metrics != whole[0]
    assert train(tmp_path / "again", config).metrics == whole[0]
    torch.testing.assert_close(left(tmp_path / "again"), whole[1], rtol=0, atol=0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_at_the_next_step_and_ends_the_run(
    config: TrainConfig,
    whole: tuple[dict[str, float], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(number)
    step, calls = LoRAClassifier.training_step, iter(range(100))

    def signalled(task: LoRAClassifier, *arguments: Any) -> Any:
        if next(calls) == 2:
            os.kill(os.getpid(), number)
        return step(task, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LoRAClassifier, "training_step", signalled)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, config)
    assert signal.getsignal(number) == before
    assert "the same signal again stops at once" in capfd.readouterr().err
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 3
    assert train(tmp_path, config, last).metrics == whole[0]


def test_a_damaged_or_foreign_checkpoint_is_refused_with_its_path_and_the_one_before(
    config: TrainConfig, whole: tuple[dict[str, float], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(monkeypatch, "training_step", 12, tmp_path, config)
    last, previous = (tmp_path / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt"))
    content = last.read_bytes()
    with pytest.raises(UserError, match=r"last\.ckpt: belongs to another run, with data .*resume=.*previous\.ckpt"):
        read_checkpoint(last, {"data": "other"})
    for damaged in (content[: len(content) // 2], b"", b"not a checkpoint"):
        last.write_bytes(damaged)
        with pytest.raises(UserError, match=r"last\.ckpt: damaged, or not a checkpoint.*resume=.*previous\.ckpt"):
            train(tmp_path, config, last)
    assert train(tmp_path, config, previous).metrics == whole[0]


def test_other_rows_are_another_run(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.data.train_file
    own, rows = copy.deepcopy(config), tmp_path / "rows.csv"
    shutil.copy(config.data.train_file, rows)
    own.data.train_file = str(rows)
    kill(monkeypatch, "training_step", 6, tmp_path / "run", own)
    rows.write_text(rows.read_text().replace("war 0", "peace 0"))
    with pytest.raises(UserError, match="belongs to another run, with data"):
        train(tmp_path / "run", own, resume=tmp_path / "run")


BEGAN = ["experiment=quickstart", "lora.r=2", "seed=5"]


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ([], None),
        (BEGAN, None),
        (["experiment=quickstart"], "model.lora.r=4"),
        (["trainer.max_epochs=9"], None),
        (["trainer.max_epochs=1"], "trainer.max_epochs=1"),
        (["seed=0"], "seed=0"),
        (["model.lora.r=3"], "model.lora.r=3"),
        (["experiment=best"], "model.lora.r=8"),
        (["logger.wandb=online"], "logger.wandb=online"),
        (["model=roberta_base"], "model.name=FacebookAI/roberta-base"),
        (["data=hub"], "data.source=hub"),
    ],
)
def test_only_max_epochs_may_grow(tmp_path: Path, overrides: list[str], key: str | None) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(compose_config(BEGAN).to_dict()))
    line = [f"resume={tmp_path}", *overrides]
    if key is None:
        found = resumed_config(str(tmp_path), line)
        assert (found.seed, found.model.lora.r) == (5, 2)
        assert found.trainer.max_epochs == (9 if "trainer.max_epochs=9" in overrides else 2)
    else:
        with pytest.raises(UserError, match=rf"{key}.*only trainer\.max_epochs may grow"):
            resumed_config(str(tmp_path), line)


@pytest.mark.parametrize("name", ["nothing", "checkpoints/last.ckpt", "config.yaml"])
def test_a_place_without_a_run_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"resume={tmp_path}/{name}: no"):
        find_run(f"{tmp_path}/{name}")


def test_a_run_stays_in_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = tmp_path / 'a "b" ${c}'
    run_dir.mkdir()
    (run_dir / "config.yaml").write_text(yaml.safe_dump(compose_config(BEGAN).to_dict()))
    with pytest.raises(UserError, match=r"hydra\.run\.dir=x: a run that is continued stays where it is"):
        resumed_config(str(run_dir), ["resume=it", "hydra.run.dir=x"])
    with hydra_initialized():
        values = compose("train", [f"resume={quote(str(run_dir))}"], return_hydra_config=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", values)
    assert values.hydra.run.dir == str(run_dir)


@pytest.mark.parametrize("status", ["finished", "stopped_early"])
def test_a_finished_run_is_left_as_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str], status: str) -> None:
    config = compose_config([*BEGAN, f"resume={tmp_path}"])
    RunResult(config.to_dict(), 5, "", status=status, metrics={"val/accuracy": 0.5}).save(tmp_path)
    before = (tmp_path / "result.json").read_bytes()
    assert run(config, tmp_path).metrics == {"val/accuracy": 0.5}
    assert (tmp_path / "result.json").read_bytes() == before
    assert "nothing to continue" in capfd.readouterr().err


def test_two_processes_do_not_work_on_one_run(tmp_path: Path) -> None:
    config = compose_config(BEGAN)
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another process is working on this run"):
        run(config, tmp_path)
    os.close(folder)
    assert list(tmp_path.iterdir()) == []


def test_other_weights_in_the_same_folder_are_told_apart(tmp_path: Path) -> None:
    shutil.copytree(find_encoder("tiny", None).folder, tmp_path / "model")
    encoder = find_encoder(str(tmp_path / "model"), None)
    before = weights_id(encoder)
    assert before == weights_id(find_encoder("tiny", None))
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert weights_id(encoder) != before


def test_a_saved_configuration_that_does_not_fit_is_told(tmp_path: Path) -> None:
    for text in ("seed: x", "a: [", "unknown: 1", ""):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=r"config\.yaml: not a configuration of this version"):
            resumed_config(str(tmp_path), [])
