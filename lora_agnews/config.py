"""What every key means and may hold. The values live in conf/; here are types, units and rules, and no defaults."""

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lora_agnews.budget import HARD_LIMIT, MAX_RANK

SAMPLERS, PRUNERS = ("grid", "random", "tpe"), ("none", "median", "hyperband")
TYPED = (int, str, bool, int | None, str | None)  # types whose rules hold for one value
HEADS = ("full", "lora", "out_proj")
ALL_LINEAR = "all-linear"
LABELS = ("World", "Sports", "Business", "Sci/Tech")  # the task: 0..3, in AG News' own order


class UserError(ValueError):
    """A key, a value or a file of the user's can't be used; the message names it, what is allowed and the remedy."""


def rule(
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[Any, ...] = (),
    valid: Callable[[Any], bool] | None = None,
    written: str = "",
) -> Any:
    """A field without a default: low <= value <= high, above < value < below, one of `choices`; None is not checked.

    What takes several types has its own test, `valid`, and says in words what it takes, `written`.
    """
    bounds = {"low": low, "high": high, "above": above, "below": below}
    return field(metadata={"meaning": meaning, "choices": choices, "valid": valid, "written": written, **bounds})


def _targets(value: Any) -> bool:
    if isinstance(value, dict):
        return (
            bool(value)
            and all(map(_name, value))
            and all(type(r) is int and 1 <= r <= MAX_RANK for r in value.values())
        )
    return value == ALL_LINEAR or (isinstance(value, list) and ALL_LINEAR not in value and all(map(_name, value)))


def _layers(value: Any) -> bool:
    if isinstance(value, str):
        return value == "all" or re.fullmatch(r"(-?\d+)?:(-?\d+)?", value) is not None
    return isinstance(value, list) and bool(value) and all(type(number) is int for number in value)


def _name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


@dataclass
class LoraConfig:
    r: int = rule("rank of the adapters", low=1, high=MAX_RANK)
    alpha: int = rule("numerator of the scale alpha / r", low=1, high=4096)
    dropout: float = rule("dropout before the adapters", low=0, below=1)
    target_modules: Any = rule(
        "Linear layers that get an adapter, by the end of their names; all-linear: every one of the encoder",
        valid=_targets,
        written="a list such as [query,value], [] for none, all-linear, or in quotes ranks: '{query:4,value:8}'",
    )
    layers: Any = rule(
        "layers of the encoder that get adapters, the first is 0; -4: is the last four",
        valid=_layers,
        written="all, a list such as [10,11], or a slice such as -4:",
    )
    bias: str = rule(
        "biases trained besides: every one of the model, or those of adapted layers",
        choices=("none", "all", "lora_only"),
    )
    use_rslora: bool = rule("scale alpha / sqrt(r) instead of alpha / r")
    use_dora: bool = rule("a trained magnitude for each output of an adapted layer (DoRA)")
    init: str = rule(
        "first weights of the adapters; orthogonal needs an even r",
        choices=("default", "gaussian", "pissa", "olora", "orthogonal"),
    )

    def __post_init__(self) -> None:
        if isinstance(self.target_modules, str) and self.target_modules != ALL_LINEAR:
            self.target_modules = [name.strip() for name in self.target_modules.split(",")]


@dataclass
class ModelConfig:
    name: str = rule("hub id, local folder, or `tiny` (shipped)")
    revision: str | None = rule("branch, tag or commit of the hub model; null: its main branch")
    head: str = rule(
        "full: dense and out_proj trained; lora: dense frozen under an adapter, out_proj trained; "
        "out_proj: the last layer alone, no adapter on the head",
        choices=HEADS,
    )
    lora: LoraConfig = rule("the adapters")


@dataclass
class DataConfig:
    source: str = rule(
        "hub: fancyzhx/ag_news; files: train_file and test_file; sample: shipped", choices=("hub", "files", "sample")
    )
    train_file: str | None = rule("labelled .csv, .tsv, .json, .jsonl or .parquet, .gz too; given, source is files")
    test_file: str | None = rule("the same for the test split; null: no test")
    max_length: int = rule("tokens of a text, <s> and </s> included; longer ones are cut", low=4, high=8192)
    val_fraction: float = rule("share of the training rows kept for validation, stratified", above=0, below=1)
    batch_size: int = rule("training rows a step, of all devices together", low=1, high=65536)
    eval_batch_size: int = rule("rows a step in validation and test", low=1, high=65536)
    bucket: int = rule("batches sorted by length together; 0: plain random batches", low=0, high=100_000)
    cache_dir: str | None = rule("where token ids are kept for the next run; null: ~/.cache/lora_agnews")


@dataclass
class OptimConfig:
    name: str = rule("adam: weight decay as L2 penalty; adamw: decoupled", choices=("adam", "adamw"))
    lr: float = rule("peak learning rate", above=0, high=10)
    lora_plus_ratio: float = rule(
        "lr of the adapters' B over lr of everything else (LoRA+); 1: the same", low=1, high=1000
    )
    weight_decay: float = rule("weight decay of every trained parameter", low=0, high=1)
    schedule: str = rule("after the warm-up: stay, or fall to zero", choices=("constant", "linear", "cosine"))
    warmup_fraction: float = rule("share of all steps in which lr rises from 0", low=0, below=1)
    label_smoothing: float = rule("probability spread over the wrong classes", low=0, below=1)


@dataclass
class TrainerConfig:
    max_epochs: int = rule("passes over the training rows", low=1, high=100_000)
    max_steps: int | None = rule("stop after so many optimizer steps; null: no such limit", low=1)
    precision: str = rule(
        "of the arithmetic; 16-mixed needs a GPU: a run on a CPU says so and takes 32-true",
        choices=("16-mixed", "bf16-mixed", "32-true"),
    )
    accelerator: str = rule("device", choices=("auto", "cpu", "gpu", "cuda", "mps"))
    devices: int = rule("processes of one run, each with a device; they share the rows of a batch", low=1, high=64)
    strategy: str = rule("between several devices", choices=("auto", "ddp"))
    gradient_clip: float = rule("largest norm of the gradient; 0: no clipping", low=0)
    accumulate: int = rule("batches whose gradients make one step", low=1, high=65536)
    early_stopping_patience: int = rule("validations without a better one before stopping; 0: never", low=0)
    val_check_interval: float = rule("share of an epoch between validations", above=0, high=1)
    compile: bool = rule("torch.compile the model: faster on a GPU after a minute, slower on a CPU")
    checkpoint_every: int = rule(
        "optimizer steps between checkpoints; there is one after each validation and epoch too", low=1
    )
    deterministic: bool = rule("only algorithms that give the same bits each time")


@dataclass
class LoggerConfig:
    wandb: str = rule(
        "auto: online when logged in and reachable, else offline",
        choices=("auto", "online", "offline", "disabled"),
    )
    project: str = rule("W&B project")
    group: str | None = rule("W&B group; null: none")
    tags: list[str] = rule("W&B tags")


@dataclass
class BudgetConfig:
    max_trainable: int = rule("limit of trainable parameters", low=1, high=HARD_LIMIT)


@dataclass
class TrainConfig:
    """A whole run. `lora` is the alias of `model.lora` on the command line; read only `model.lora`."""

    seed: int = rule("of the split, the head's first weights, the order of rows and dropout", low=0, high=2**32 - 1)
    model: ModelConfig = rule("what is trained")
    lora: Any = rule("alias of model.lora")
    data: DataConfig = rule("rows and batches")
    optim: OptimConfig = rule("optimizer and schedule")
    trainer: TrainerConfig = rule("the loop")
    logger: LoggerConfig = rule("where metrics go")
    budget: BudgetConfig = rule("the limit")
    resume: str | None = rule("run directory, or one of its checkpoints, to continue; null: a new run")

    def __post_init__(self) -> None:
        if self.data.train_file or self.data.test_file:
            self.data.source = "files"
        check(self)

    def to_dict(self) -> dict[str, Any]:
        """Every value of the run as plain types, both spellings of LoRA folded into `model.lora`."""
        values = dataclasses.asdict(self)
        del values["lora"], values["resume"]
        return values


@dataclass
class StudyConfig:
    """A study of sweep.py: every combination of `space`, once for each seed, on top of `overrides`."""

    name: str = rule("name of the study")
    overrides: list[str] = rule("overrides of train.py that hold for every point")
    space: dict[str, Any] = rule("full key -> a list of values, or {choices | low, high, log, when}")
    seeds: list[int] = rule("seeds of each point")
    sampler: str = rule("grid: every point; random; tpe: each where the ones before did well", choices=SAMPLERS)
    trials: int | None = rule("points to run, each with every seed; null: all of a grid", low=1, high=100_000)
    pruner: str = rule("gives up a point whose first seed falls behind others at the same step", choices=PRUNERS)
    minimize_parameters: bool = rule("trained parameters as a second objective: the Pareto front")
    workers: int = rule("processes on this machine", low=1, high=256)
    storage: str | None = rule("Optuna URL that several machines share, such as postgresql+psycopg://; null: a file")
    dir: str | None = rule("where the study and its runs lie; null: runs/study-NAME")

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if spec.type in TYPED:
                _check_value(spec.name, spec, value)
        if not self.space or not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"study {self.name}: space and seeds need at least one value each, and no seed twice")
        if self.sampler != "grid" and not self.trials:
            raise UserError(f"trials=null: sampler={self.sampler} goes on for ever; add trials=NUMBER")
        if self.minimize_parameters and self.pruner != "none":
            raise UserError("pruner with minimize_parameters=true: a point behind in accuracy may be ahead in size")


def check(config: TrainConfig) -> None:
    """Raises: UserError, for the first value outside its rule or at odds with another."""
    for key, spec, value in leaves(config):
        _check_value(key, spec, value)
    data = config.data
    if data.source == "files" and not data.train_file:
        raise UserError("data.train_file=null: data.source=files and data.test_file need it; add data.train_file=FILE")


def leaves(config: Any, prefix: str = "") -> list[tuple[str, dataclasses.Field[Any], Any]]:
    """(full key, field, value) of every leaf of a config or, given the class, (full key, field, None)."""
    found = []
    for spec in dataclasses.fields(config):
        key, value = prefix + spec.name, None if isinstance(config, type) else getattr(config, spec.name)
        if dataclasses.is_dataclass(spec.type):
            found += leaves(spec.type if value is None else value, f"{key}.")
        elif key != "lora":
            found.append((key, spec, value))
    return found


def allowed(spec: dataclasses.Field[Any]) -> str:
    """What a field takes, in words: "a whole number, 1 to 1024"."""
    rules = spec.metadata
    if rules["written"]:
        return str(rules["written"])
    if rules["choices"]:
        return "one of " + ", ".join(rules["choices"])
    written = spec.type.__name__ if spec.type in (int, float, bool, str) else str(spec.type)
    word = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "str": "a non-empty text",
        "list[str]": "a list such as [a,b]",
        "list[int]": "a list such as [0,1]",
        "dict[str, typing.Any]": "a mapping, in conf/study",
    }
    text = word[written.removesuffix(" | None")]
    bounds = (("above", "above"), ("low", "at least"), ("below", "below"), ("high", "at most"))
    limits = " and ".join(f"{name} {rules[bound]:,}" for bound, name in bounds if rules[bound] is not None)
    return " ".join(filter(None, (text, limits, "or null" if "None" in written else "")))


def spelled(value: Any) -> str:
    """A value as one writes it on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(spelled, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{spelled(item)}' for key, item in value.items())}}}"
    return str(value) if str(value).strip() else repr(value)


def _check_value(key: str, spec: dataclasses.Field[Any], value: Any) -> None:
    rules = spec.metadata
    if not rules["valid"](value) if rules["valid"] else value is not None and _outside(spec, value):
        raise UserError(f"{key}={spelled(value)}: must be {allowed(spec)} ({rules['meaning']})")


def _outside(spec: dataclasses.Field[Any], value: Any) -> bool:
    rules = spec.metadata
    wrong = bool(rules["choices"]) and value not in rules["choices"]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        wrong = not math.isfinite(value) or any(
            (
                rules["low"] is not None and value < rules["low"],
                rules["high"] is not None and value > rules["high"],
                rules["above"] is not None and value <= rules["above"],
                rules["below"] is not None and value >= rules["below"],
            )
        )
    if isinstance(value, str):
        wrong = wrong or not value.strip()
    if spec.type == list[str]:
        wrong = not isinstance(value, list) or not all(map(_name, value))
    return wrong
