"""Names that a key or an option may take, each defined once. The code that implements a choice is keyed by these."""

from enum import StrEnum


class MatmulPrecision(StrEnum):
    """What torch.set_float32_matmul_precision accepts."""

    HIGHEST = "highest"
    HIGH = "high"
    MEDIUM = "medium"


class Head(StrEnum):
    """What is trained in the classification head; see `HEADS` in model/lora.py."""

    FULL = "full"
    LORA = "lora"
    OUT_PROJ = "out_proj"


class Optimizer(StrEnum):
    """Implemented in training/optimizers.py."""

    ADAM = "adam"
    ADAMW = "adamw"


class Schedule(StrEnum):
    """Learning rate after the warm-up; implemented in training/optimizers.py."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class Precision(StrEnum):
    """Lightning's names for the arithmetic of a run."""

    FP16 = "16-mixed"
    BF16 = "bf16-mixed"
    FP32 = "32-true"


class WandbMode(StrEnum):
    """Where W&B logs to; implemented in training/wandb_run.py."""

    AUTO = "auto"
    ONLINE = "online"
    OFFLINE = "offline"
    DISABLED = "disabled"


class Prefix(StrEnum):
    """What happens to the frozen layers below the lowest adapter; implemented in training/prefix.py."""

    LIVE = "live"
    CACHED = "cached"


class Debug(StrEnum):
    """Runs that look for mistakes; implemented in training/debug.py and conf/debug."""

    FAST = "fast"
    OVERFIT = "overfit"
    PROFILE = "profile"


class Sampler(StrEnum):
    """How a study chooses its points; implemented in sweeps/study.py."""

    GRID = "grid"
    RANDOM = "random"
    TPE = "tpe"


class Pruner(StrEnum):
    """Optuna's pruners that a study may use; implemented in sweeps/storage.py."""

    NONE = "none"
    MEDIAN = "median"
    HYPERBAND = "hyperband"


class CacheAction(StrEnum):
    """What can be done with the cache; implemented in data/cache.py."""

    LIST = "list"
    CLEAR = "clear"


class SweepTest(StrEnum):
    """Rows of a sweep's leaderboard whose runs are tested; implemented in sweeps/testing.py."""

    WINNER = "winner"
    TIED = "tied"
    ALL = "all"
    NONE = "none"


class Weights(StrEnum):
    """Weights of a run that can be evaluated; implemented in inference/evaluation.py."""

    BEST = "best"
    LAST = "last"


class Prior(StrEnum):
    """Shares of the classes among texts to classify; implemented in inference/submission.py."""

    UNIFORM = "uniform"
    ESTIMATE = "estimate"


class ExportFormat(StrEnum):
    """Formats of an exported run; implemented in inference/export.py."""

    ADAPTER = "adapter"
    MERGED = "merged"
    ONNX = "onnx"


class Engine(StrEnum):
    """What runs a prediction: this process, or a pool of Ray actors; implemented in inference/commands.py."""

    LOCAL = "local"
    RAY = "ray"
