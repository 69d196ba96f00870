"""`train.py` and the Hugging Face Trainer with PEFT on the same rows: each measurement has a process of its own.

All run the same number of steps. The first `warm_up` steps of each are not measured: there, memory is allocated,
kernels are chosen and the model is compiled. Validation and checkpoints are not measured either.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

OURS, PEER = "ours", "transformers.Trainer"
GROUPED = f"{PEER}, group_by_length"
CONTESTANTS = (OURS, PEER, GROUPED)
SHIPPED_ROWS = str(files("lora_agnews.data") / "sample" / "train.csv.gz")
Found = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """What the contestants have in common."""

    model: str  # tiny, a local folder or a hub id
    targets: list[str]
    train_file: str | None  # None: AG News from the hub
    val_fraction: float
    max_length: int
    batch_size: int
    steps: int
    warm_up: int  # steps that are not measured
    checks: int  # validations of ours in `steps` steps; the peer validates at the end
    precision: str
    compile: bool  # only ours
    threads: int
    seed: int
    layers: str = "all"  # that get adapters; -2: for the top two
    prefix: str = "live"  # only ours
    cache_dir: str | None = None  # only ours

    def __post_init__(self) -> None:
        if self.steps % self.checks or not 0 <= self.warm_up < self.steps:
            raise ValueError(f"{self.steps} steps: a multiple of {self.checks} and more than {self.warm_up} are needed")


def measure(contestant: str, setup: Setup) -> Found:
    """Run one contestant in a process of its own. Raises: RuntimeError, with the end of its messages, if it fails."""
    command = [sys.executable, "-m", "benchmarks.contestants", contestant, json.dumps(asdict(setup))]
    threads = {"OMP_NUM_THREADS": str(setup.threads), "MKL_NUM_THREADS": str(setup.threads)}
    done = subprocess.run(command, env=os.environ | threads | one_gpu(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{contestant} failed:\n{done.stderr[-3000:]}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def one_gpu() -> dict[str, str]:
    """Return the environment in which only the first GPU is visible: transformers.Trainer would use all of them."""
    return {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}


def ours(setup: Setup) -> Found:
    """Train as `train.py` does: the reference recipe, with the settings of the comparison."""
    from benchmarks.flops import training_flops
    from lora_agnews.config.compose import compose_config
    from lora_agnews.model.architecture import read_architecture_folder
    from lora_agnews.model.encoder import find_encoder
    from lora_agnews.training.callbacks import Stopwatch, finished_at
    from lora_agnews.training.fit import fit, prepare
    from lora_agnews.training.in_sweep import InSweep
    from lora_agnews.training.tracking import open_tracking
    from lora_agnews.training.trainer import build_trainer

    class WarmStopwatch(Stopwatch):
        """Begins again after the warm-up, and goes on after a validation when its checkpoint is written."""

        def on_train_batch_end(self, trainer: Any, *arguments: Any) -> None:
            super().on_train_batch_end(trainer, *arguments)
            if trainer.global_step == setup.warm_up:
                # The time of the compilation, most of it in the warm-up, is subtracted at the end.
                self.began_at = finished_at(trainer.strategy.root_device) - self.compile_seconds
                self.samples, self.tokens = 0, 0

        def on_validation_end(self, *_: Any) -> None:
            pass

        def on_train_batch_start(self, trainer: Any, task: Any, *_: Any) -> None:
            if self.paused_at is not None:
                super().on_validation_end(trainer, task)

        def on_train_end(self, trainer: Any, task: Any) -> None:
            super().on_validation_end(trainer, task)  # the last one, after the last step
            super().on_train_end(trainer, task)

    config, encoder = compose_config(overrides(setup)), find_encoder(setup.model, None)
    parts, stopwatch = prepare(config, encoder), WarmStopwatch(0.0, 0.0)
    if setup.steps > parts.batches:
        raise SystemExit(f"{setup.steps} steps: an epoch has {parts.batches}")
    config.trainer.val_check_interval = setup.steps // setup.checks / parts.batches
    with tempfile.TemporaryDirectory() as folder:
        with open_tracking(Path(folder), config.logger, {}) as tracking:
            loggers, alone = tracking.loggers, InSweep()
            trainer = build_trainer(config.trainer, Path(folder), parts.batches, loggers, {}, stopwatch, alone)
            fitted = fit(parts, trainer, None, setup.compile, is_tested=False)
        with (Path(folder) / "metrics.csv").open(newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["val/loss"]]
    speed = stopwatch.throughput(setup.steps - setup.warm_up, trainer.strategy.root_device)
    shape = read_architecture_folder(encoder.name, encoder.folder)
    return speed | {
        "val_loss": float(rows[-1]["val/loss"]),
        "val_accuracy": float(rows[-1]["val/accuracy"]),
        "curve": [[int(row["step"]) + 1, float(row["val/loss"])] for row in rows],
        "compile_seconds": stopwatch.compile_seconds,
        "prefix_seconds": fitted.seconds["prefix"],
        "flops_per_second": training_flops(shape, speed["samples_per_second"], speed["tokens_per_second"]),
    }


def overrides(setup: Setup) -> list[str]:
    """Return the command line of train.py for the settings."""
    values = ["model=tiny" if setup.model == "tiny" else f"model.name={setup.model}"]
    values += [f"data.train_file={setup.train_file}"] if setup.train_file else []
    values += [f"data.val_fraction={setup.val_fraction}", f"data.max_length={setup.max_length}", f"seed={setup.seed}"]
    values += [f"lora.layers={setup.layers}", f"model.prefix={setup.prefix}"]
    values += [f"data.cache_dir={setup.cache_dir}"] if setup.cache_dir else []
    values += [f"lora.target_modules=[{','.join(setup.targets)}]", f"data.batch_size={setup.batch_size}"]
    values += [f"trainer.max_steps={setup.steps}", f"trainer.precision={setup.precision}", "logger.wandb=disabled"]
    return [*values, "trainer.early_stopping_patience=0", "trainer.max_epochs=1"]


def peer(setup: Setup, grouped: bool) -> Found:
    """Do what most projects on this task do: Trainer, DataCollatorWithPadding, PEFT's SEQ_CLS. Rows are in memory."""
    import peft
    import torch
    from transformers import (
        AutoConfig,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from lora_agnews.data.source import Source, load_rows
    from lora_agnews.data.split import stratified_split
    from lora_agnews.model.build import load_base
    from lora_agnews.model.encoder import find_encoder
    from lora_agnews.training.callbacks import finished_at

    encoder = find_encoder(setup.model, None)
    rows, _ = load_rows(Source("files" if setup.train_file else "hub", setup.train_file))
    tokenizer = AutoTokenizer.from_pretrained(encoder.folder)

    def encode(chosen: Any) -> list[dict[str, Any]]:
        found = tokenizer([rows.texts[i] for i in chosen], truncation=True, max_length=setup.max_length)
        columns = zip(found["input_ids"], found["attention_mask"], chosen, strict=True)
        return [{"input_ids": ids, "attention_mask": mask, "labels": rows.labels[i]} for ids, mask, i in columns]

    train, val = map(encode, stratified_split(rows.labels, setup.val_fraction, setup.seed))
    torch.manual_seed(setup.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numbers = range(AutoConfig.from_pretrained(encoder.folder).num_hidden_layers)
    top = None if setup.layers == "all" else list(numbers[int(setup.layers.removesuffix(":")) :])
    lora = peft.LoraConfig(
        task_type="SEQ_CLS",
        r=1,
        lora_alpha=2,
        lora_dropout=0.5,
        target_modules=setup.targets,
        layers_to_transform=top,
    )
    tokens: list[int] = []  # of each batch, without padding
    seconds = 0.0

    class CountingCollator(DataCollatorWithPadding):
        def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
            batch = super().__call__(features)
            tokens.append(int(batch["attention_mask"].sum()))
            return batch

    class Clock(TrainerCallback):
        """Begins after the warm-up."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            nonlocal seconds
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            seconds = finished_at(device)

        def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            nonlocal seconds
            if state.global_step == setup.warm_up:
                seconds = finished_at(device)

        def on_train_end(self, *_: Any, **__: Any) -> None:
            nonlocal seconds
            seconds = finished_at(device) - seconds

    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            output_dir=out,
            per_device_train_batch_size=setup.batch_size,
            max_steps=setup.steps,
            learning_rate=7e-4,
            weight_decay=0.003,
            lr_scheduler_type="constant",
            logging_steps=50,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=setup.seed,
            fp16=setup.precision == "16-mixed",
            bf16=setup.precision == "bf16-mixed",
            use_cpu=device.type == "cpu",
            train_sampling_strategy="group_by_length" if grouped else "random",
        )
        trainer = Trainer(
            model=peft.get_peft_model(load_base(encoder), lora),
            args=arguments,
            train_dataset=train,  # type: ignore[arg-type]
            eval_dataset=val,  # type: ignore[arg-type]
            compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())},
            data_collator=CountingCollator(tokenizer),
            callbacks=[Clock()],
        )
        trainer.train()
        found = trainer.evaluate()
    steps_per_second = (setup.steps - setup.warm_up) / seconds
    return {
        "samples_per_second": steps_per_second * setup.batch_size,
        "tokens_per_second": sum(tokens[setup.warm_up : setup.steps]) / seconds,
        "steps_per_second": steps_per_second,
        "val_loss": found["eval_loss"],
        "val_accuracy": found["eval_accuracy"],
    }


def main(contestant: str, settings: str) -> None:
    """Measure one contestant in this process and print what was found as one line of JSON."""
    import torch

    from lora_agnews.training.callbacks import peak_memory

    setup = Setup(**json.loads(settings))
    found = ours(setup) if contestant == OURS else peer(setup, grouped=contestant == GROUPED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(json.dumps(found | {"peak_memory_bytes": peak_memory(device), "device": name}))


if __name__ == "__main__":
    main(*sys.argv[1:])
