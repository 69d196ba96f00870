"""Small models, their names in each family, and random inputs."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from lora_agnews.budget import trainable_parameters
from lora_agnews.model.architecture import FAMILIES
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import (
    LoraSpec,
)

MakeLora = Callable[..., LoraSpec]


@cache
def config_of(family: str, hidden: int, layers: int) -> Any:
    sizes = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers}
    if family == "distilbert":
        sizes = {"dim": hidden, "hidden_dim": 3 * hidden, "n_layers": layers, "n_heads": 2}
    else:
        sizes |= {"num_attention_heads": 2, "type_vocab_size": 1 + (family == "bert")}
    return AutoConfig.for_model(family, vocab_size=50, max_position_embeddings=20, num_labels=4, **sizes)


def on_meta(config: Any) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = AutoModelForSequenceClassification.from_config(config)
    return model


def names_and_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def names_in(family: str, names: list[str]) -> list[str]:
    """Translate RoBERTa's names of modules into those of another family."""
    attention = FAMILIES[family].attention
    words = {"query": attention[0], "key": attention[1], "value": attention[2], "output": attention[3]}
    words |= {
        "inner": FAMILIES[family].feed_forward[0],
        "dense": FAMILIES[family].head.dense,
        "out": FAMILIES[family].head.out,
    }
    return [words[name] for name in names]


def in_names_of(family: str, lora: LoraSpec) -> LoraSpec:
    targets = lora.target_modules
    if isinstance(targets, dict):
        targets = dict(zip(names_in(family, list(targets)), targets.values(), strict=True))
    elif targets != "all-linear":
        targets = names_in(family, list(targets))
    return replace(lora, target_modules=targets)


TINY = find_encoder("tiny", None)


Change = dict[str, Any]


OPTIONS: list[Change] = [
    {},
    {"head": "lora"},
    {"head": "out_proj"},
    {"target_modules": ["query", "value"]},
    {"target_modules": "all-linear"},
    {"target_modules": ["query", "key", "value", "dense"], "head": "lora"},
    {"target_modules": {"query": 4, "value": 3}},
    {"target_modules": []},
    {"target_modules": [], "head": "out_proj"},
    {"target_modules": ["classifier.dense"]},
    {"layers": "-2:"},
    {"bias": "all"},
    {"bias": "lora_only", "head": "lora"},
    {"use_rslora": True},
    {"use_dora": True},
    {"init": "gaussian"},
    {"init": "orthogonal"},
    {"init": "pissa"},
    {"init": "olora", "head": "lora"},
    {"init": "pissa", "use_rslora": True, "use_dora": True, "target_modules": {"query": 4, "dense": 2}, "bias": "all"},
]


def some_batch() -> dict[str, Tensor]:
    ids = torch.randint(5, 8000, (4, 12))
    mask = torch.ones_like(ids)
    mask[0, 6:], ids[0, 6:] = 0, 1
    return {"input_ids": ids, "attention_mask": mask}


def perturb(model: nn.Module) -> None:
    """Moves every trained parameter away from its first value, LoRA's zeros included."""
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.add_(torch.randn_like(parameter) * 0.05)
