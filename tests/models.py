"""Small models, their names in each family, and random inputs."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from lora_agnews.budget import trainable_parameters
from lora_agnews.model.architecture import FAMILIES
from lora_agnews.model.encoder import SHIPPED, Encoder, find_encoder
from lora_agnews.model.lora import (
    LoraSpec,
)

MakeLora = Callable[..., LoraSpec]
DEBERTA = {"relative_attention": True, "position_buckets": 4, "share_att_key": True, "pos_att_type": ["p2c", "c2p"]}
DEBERTA |= {"type_vocab_size": 0, "position_biased_input": False, "norm_rel_ebd": "layer_norm"}
SETTINGS: dict[str, dict[str, Any]] = {  # of the families below that differ from BERT's
    "bert": {"type_vocab_size": 2},
    "electra": {"embedding_size": 8},
    "deberta-v2": DEBERTA | {"conv_kernel_size": 3},
    "deberta-v3": DEBERTA,  # its model_type is deberta-v2
    "modernbert": {"local_attention": 4, "classifier_pooling": "mean"}
    | {f"{name}_token_id": 2 for name in ("bos", "eos", "cls", "sep")},
    "albert": {"embedding_size": 8},
}
MODULES = {family: (*names.attention, names.feed_forward[0]) for family, names in FAMILIES.items()}
OTHERS = {  # families without shortcuts; ModernBERT has one layer for query, key and value
    "deberta-v2": ("query_proj", "key_proj", "value_proj", "attention.output.dense", "intermediate.dense"),
    "deberta-v3": ("query_proj", "key_proj", "value_proj", "attention.output.dense", "intermediate.dense"),
    "modernbert": ("Wqkv", "attn.Wqkv", "mlp.Wo", "attn.Wo", "Wi"),
    "albert": ("query", "key", "value", "attention.dense", "ffn"),
}
MODULES |= OTHERS
HEADS = dict.fromkeys(MODULES, ("classifier.dense", "classifier.out_proj")) | {
    "bert": ("bert.pooler.dense", "classifier"),
    "distilbert": ("pre_classifier", "classifier"),
    "deberta-v2": ("pooler.dense", "classifier"),
    "deberta-v3": ("pooler.dense", "classifier"),
    "modernbert": ("head.dense", "classifier"),
    "albert": ("albert.pooler", "classifier"),
}


@cache
def config_of(family: str, hidden: int, layers: int, **changes: Any) -> Any:
    sizes: dict[str, Any] = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers}
    if family == "distilbert":
        sizes = {"dim": hidden, "hidden_dim": 3 * hidden, "n_layers": layers, "n_heads": 2}
    else:
        sizes |= {"num_attention_heads": 2, "type_vocab_size": 1} | SETTINGS.get(family, {})
    sizes |= {"vocab_size": 50, "max_position_embeddings": 20, "pad_token_id": 1, "num_labels": 4} | changes
    return AutoConfig.for_model(family.replace("-v3", "-v2"), **sizes)


def save_encoder(family: str, folder: Path) -> Encoder:
    """Save a pretrained encoder of random weights, without a head, beside the tokenizer of `tiny`."""
    AutoModel.from_config(config_of(family, 16, 2, vocab_size=8192, max_position_embeddings=70)).save_pretrained(folder)
    for path in find_encoder(SHIPPED, None).folder.glob("tokenizer*"):
        shutil.copy(path, folder)
    return find_encoder(str(folder), None)


def on_meta(config: Any) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = AutoModelForSequenceClassification.from_config(config)
    return model


def names_and_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def names_in(family: str, names: list[str]) -> list[str]:
    """Translate RoBERTa's names of modules into those of another family."""
    roles = ("query", "key", "value", "output", "inner", "dense", "out")
    words = dict(zip(roles, (*MODULES[family], *HEADS[family]), strict=True))
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
