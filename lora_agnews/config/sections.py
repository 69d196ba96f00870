"""Type, meaning and allowed values of every key of a run. The values live in conf/, so no field has a default."""

from dataclasses import dataclass
from typing import Any

from lora_agnews.budget import HARD_LIMIT, MAX_RANK
from lora_agnews.config.choices import Head, MatmulPrecision, Optimizer, Precision, Prefix, Schedule, WandbMode
from lora_agnews.config.rules import rule
from lora_agnews.config.trainer_options import are_trainer_options
from lora_agnews.config.validators import ALL_LINEAR, are_class_weights, are_layers, are_targets
from lora_agnews.labels import AG_NEWS


@dataclass
class LoraConfig:
    r: int = rule("rank of the adapters", low=1, high=MAX_RANK)
    alpha: int = rule("numerator of the scale alpha / r", low=1, high=4096)
    dropout: float = rule("dropout probability on the input of the adapters", low=0, below=1)
    target_modules: Any = rule(
        "Linear layers that get an adapter, given by the end of their names; all-linear: every one in the layers",
        valid=are_targets,
        written="a list such as [query,value], [] for none, all-linear, or in quotes ranks: '{query:4,value:8}'",
    )
    layers: Any = rule(
        "encoder layers that get adapters, counted from 0; the slice -4: selects the last four",
        valid=are_layers,
        written="all, a list such as [10,11], or a slice such as -4:",
    )
    bias: str = rule(
        "biases that are trained too: none, all of the model, or those of adapted layers (lora_only)",
        choices=("none", "all", "lora_only"),
    )
    use_rslora: bool = rule("scale the adapters by alpha / sqrt(r) instead of alpha / r (rsLoRA)")
    use_dora: bool = rule("train a magnitude for each output of an adapted layer (DoRA)")
    init: str = rule(
        "initial weights of the adapters; orthogonal needs an even r",
        choices=("default", "gaussian", "pissa", "olora", "orthogonal"),
    )

    def __post_init__(self) -> None:
        if isinstance(self.target_modules, str) and self.target_modules != ALL_LINEAR:
            self.target_modules = [name.strip() for name in self.target_modules.split(",")]


@dataclass
class ModelConfig:
    name: str = rule("hub id, local folder, or tiny (shipped with the package)")
    revision: str | None = rule("branch, tag or commit of the hub model; null: its main branch")
    head: str = rule(
        "what is trained in the head. full: dense and out_proj; lora: an adapter on the frozen dense, and out_proj; "
        "out_proj: only the last layer, without an adapter on the head",
        choices=Head,
    )
    prefix: str = rule(
        "frozen layers below the lowest adapter. live: they run in each step, with dropout; cached: their output is "
        "computed once, without dropout, and kept in data.cache_dir",
        choices=Prefix,
        as_before="live",
    )
    adapter: str | None = rule(
        "run directory whose trained adapter and head this run starts from; null: new ones", as_before=None
    )
    lora: LoraConfig = rule("the adapters")


@dataclass
class DataConfig:
    source: str = rule(
        "hub: the data set data.name; files: train_file and test_file; sample: the shipped rows",
        choices=("hub", "files", "sample"),
    )
    train_file: str | None = rule(
        "labelled .csv, .tsv, .json, .jsonl or .parquet file, text formats also as .gz; sets source to files"
    )
    test_file: str | None = rule("the same for the test split; null: no test split")
    name: str = rule(
        "data set of the hub, or a folder that save_to_disk of datasets wrote; any but the default sets source to hub",
        as_before=AG_NEWS,
    )
    revision: str | None = rule("branch, tag or commit of the hub data set; null: its main branch", as_before=None)
    text_column: str | None = rule(
        "column with the texts; null: text, or those of a file in AG News' own format", as_before=None
    )
    label_column: str | None = rule(
        "column with the labels, by number or name; null: label, or that of a file in AG News' own format",
        as_before=None,
    )
    max_length: int = rule("tokens per text, <s> and </s> included; longer texts are truncated", low=4, high=8192)
    val_fraction: float = rule("share of the training rows that is held out for validation, by class", above=0, below=1)
    train_rows: int | None = rule(
        "number of training rows, drawn with the proportions of the classes; null: all but those of validation",
        low=4,
        as_before=None,
    )
    split_seed: int | None = rule(
        "seed that draws the validation rows and train_rows; null: the seed of the run",
        low=0,
        high=2**32 - 1,
        as_before=None,
    )
    batch_size: int = rule("training rows per batch, summed over all devices", low=1, high=65536)
    eval_batch_size: int = rule("rows per batch and device in validation and test", low=1, high=65536)
    bucket: int = rule(
        "number of batches that are sorted by length together; 0: random batches without sorting", low=0, high=100_000
    )
    cache_dir: str | None = rule(
        "cache of token ids, prefixes and, with several devices, rows; null: ~/.cache/lora_agnews"
    )


@dataclass
class OptimConfig:
    name: str = rule("adam: weight decay as an L2 penalty; adamw: decoupled weight decay", choices=Optimizer)
    lr: float = rule("peak learning rate", above=0, high=10)
    lora_plus_ratio: float = rule(
        "learning rate of the adapters' B matrices divided by lr (LoRA+); 1: the same rate", low=1, high=1000
    )
    weight_decay: float = rule("weight decay of every trained parameter", low=0, high=1)
    schedule: str = rule("learning rate after the warm-up: constant, or falling to zero", choices=Schedule)
    warmup_fraction: float = rule("share of all steps in which the learning rate rises from 0", low=0, below=1)
    label_smoothing: float = rule("probability that is spread over all classes in the loss", low=0, below=1)
    class_weights: Any = rule(
        "factor of each class in the training loss; balanced: inversely proportional to its training rows",
        valid=are_class_weights,
        written="null, balanced, or a list of four numbers above 0 such as [1,1,2,1]",
        as_before=None,
    )


@dataclass
class TrainerConfig:
    max_epochs: int = rule("passes over the training rows", low=1, high=100_000)
    max_steps: int | None = rule("stop after this many optimizer steps; null: no such limit", low=1)
    precision: str = rule(
        "arithmetic; 16-mixed needs an NVIDIA GPU: without one, the run says so and uses 32-true", choices=Precision
    )
    matmul_precision: str = rule(
        "precision of float32 matrix products, as in torch.set_float32_matmul_precision. highest: float32; high: TF32; "
        "medium: bfloat16, if the device supports it",
        choices=MatmulPrecision,
        as_before="highest",
    )
    accelerator: str = rule("device type", choices=("auto", "cpu", "gpu", "cuda", "mps"))
    devices: int = rule("devices of the run on each machine; all of them share the rows of each batch", low=1, high=64)
    num_nodes: int = rule(
        "machines of the run, each with trainer.devices devices; srun or torchrun starts the processes",
        low=1,
        high=1024,
        as_before=1,
    )
    strategy: str = rule("strategy for several devices", choices=("auto", "ddp"))
    gradient_clip: float = rule("largest norm of the gradient; 0: no clipping", low=0)
    accumulate: int = rule("batches whose gradients are averaged for one optimizer step", low=1, high=65536)
    early_stopping_patience: int = rule("validations without improvement before the run stops; 0: never", low=0)
    val_check_interval: float = rule("share of an epoch between two validations", above=0, high=1)
    compile: bool = rule("torch.compile the model; meant for GPUs, slower on a CPU")
    checkpoint_every: int = rule(
        "optimizer steps between checkpoints; one is also written after each validation and epoch", low=1
    )
    deterministic: bool = rule("use only algorithms that give the same bits every time")
    extra: Any = rule(
        "options of Lightning's Trainer: limit_train_batches, gradient_clip_algorithm, detect_anomaly, profiler",
        valid=are_trainer_options,
        written="null, or a mapping in quotes such as '{limit_train_batches:0.1}'",
        as_before=None,
    )

    @property
    def processes(self) -> int:
        """Number of processes of a run: one per device, on all machines."""
        return self.devices * self.num_nodes


@dataclass
class LoggerConfig:
    wandb: str = rule("auto: online if you are logged in and the server answers, otherwise offline", choices=WandbMode)
    project: str | None = rule("W&B project; null: the environment variable WANDB_PROJECT, or lora-agnews")
    group: str | None = rule("W&B group; null: none, or the sweep of the run")
    tags: list[str] = rule("W&B tags")
    entity: str | None = rule("W&B team or user; null: WANDB_ENTITY, or your default", as_before=None)
    name: str | None = rule("name of the W&B run; null: that of the run directory", as_before=None)
    tensorboard: bool = rule("log to RUN_DIR/tensorboard too; needs `pip install tensorboard`", as_before=False)


@dataclass
class BudgetConfig:
    max_trainable: int = rule("limit of trainable parameters", low=1, high=HARD_LIMIT)
