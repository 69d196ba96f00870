"""Names and shapes of a model's parameters, computed from its config.json, and which layers are its head.

This is arithmetic without torch, so that a budget is counted in no time (importing torch and a model takes seconds).
tests/model/test_architecture.py compares every family with the model that transformers builds, name by name.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from lora_agnews.errors import UserError
from lora_agnews.labels import LABELS
from lora_agnews.model.encoder import find_encoder

ParameterShapes = dict[str, tuple[int, ...]]
SHIPPED = files("lora_agnews.model") / "architectures"  # config.json of the models in conf/model: no network needed


class HeadLayers(NamedTuple):
    """Full names of the two layers of a classification head: a square layer, and hidden size to labels."""

    dense: str
    out: str


@dataclass(frozen=True)
class Family:
    """How one family of encoders names its layers."""

    model: str
    attention: tuple[str, str, str, str]  # query, key, value and output, below layer.N
    attention_norm: str
    feed_forward: tuple[str, str]
    output_norm: str
    head: HeadLayers
    layers: str = "encoder.layer"
    token_types: bool = False
    relative_positions: bool = False
    layers_return_tuples: bool = False
    positions_after_padding: bool = False  # position ids begin after the id of the padding token


BERT = Family(
    model="bert",
    attention=("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    attention_norm="attention.output.LayerNorm",
    feed_forward=("intermediate.dense", "output.dense"),
    output_norm="output.LayerNorm",
    head=HeadLayers("bert.pooler.dense", "classifier"),
    token_types=True,
)
ROBERTA = replace(
    BERT,
    model="roberta",
    head=HeadLayers("classifier.dense", "classifier.out_proj"),
    positions_after_padding=True,
)
MPNET = Family(
    model="mpnet",
    attention=("attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o"),
    attention_norm="attention.LayerNorm",
    feed_forward=("intermediate.dense", "output.dense"),
    output_norm="output.LayerNorm",
    head=HeadLayers("classifier.dense", "classifier.out_proj"),
    relative_positions=True,
    layers_return_tuples=True,
    positions_after_padding=True,
)
DISTILBERT = Family(
    model="distilbert",
    attention=("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
    attention_norm="sa_layer_norm",
    feed_forward=("ffn.lin1", "ffn.lin2"),
    output_norm="output_layer_norm",
    head=HeadLayers("pre_classifier", "classifier"),
    layers="transformer.layer",
)
FAMILIES = {
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "bert": BERT,
    "mpnet": MPNET,
    "distilbert": DISTILBERT,
}


@dataclass(frozen=True)
class Architecture:
    """Names and shapes of a sequence classifier's parameters, as its config.json describes it."""

    name: str
    family: Family
    num_layers: int
    parameters: ParameterShapes

    @property
    def total(self) -> int:
        return sum(map(prod, self.parameters.values()))

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Linear layer -> (outputs, inputs), in the model's order. All of them have a bias."""
        return {
            name.removesuffix(".weight"): (shape[0], shape[1])
            for name, shape in self.parameters.items()
            if len(shape) == 2 and name.replace(".weight", ".bias") in self.parameters
        }

    @property
    def last_attention_norm(self) -> str:
        """Name of the LayerNorm between attention and feed-forward of the last layer."""
        family = self.family
        return f"{family.model}.{family.layers}.{self.num_layers - 1}.{family.attention_norm}"

    @property
    def head(self) -> HeadLayers:
        return self.family.head


@cache
def read_architecture(name: str, revision: str | None = None) -> Architecture:
    """Read the architecture of a hub id, a local folder or `tiny`. The models in conf/model need no hub.

    Raises: UserError, if the model belongs to no known family; RuntimeError, if its config.json can't be fetched.
    """
    shipped = SHIPPED / f"{name.replace('/', '--')}.json"
    if revision is None and shipped.is_file():
        return parse_architecture(name, json.loads(shipped.read_text()))
    return read_architecture_folder(name, find_encoder(name, revision).folder)


def read_architecture_folder(name: str, folder: Path) -> Architecture:
    """Read the architecture of the model in a folder. Raises: UserError."""
    try:
        return parse_architecture(name, json.loads((folder / "config.json").read_text()))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"model.name={name}: {folder / 'config.json'} is not JSON ({error})") from error


def parse_architecture(name: str, config: dict[str, Any]) -> Architecture:
    """Parse a config.json. Raises: UserError, naming the unknown family or the missing value."""
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise UserError(f"model.name={name}: a {kind} model can't be used; must be one of {', '.join(FAMILIES)}")
    family = FAMILIES[kind]
    names = {"hidden_size": "dim", "intermediate_size": "hidden_dim", "num_hidden_layers": "n_layers"}
    needed = [*names, "vocab_size", "max_position_embeddings"]
    needed += ["type_vocab_size"] if family.token_types else []
    needed += ["relative_attention_num_buckets", "num_attention_heads"] if family.relative_positions else []
    sizes: dict[str, Any] = {}
    for key in needed:
        written = names.get(key, key) if kind == "distilbert" else key
        sizes[key] = value = config.get(written)
        if type(value) is not int or value < 1:
            raise UserError(
                f"model.name={name}: its config.json has {written}={value}; a whole number from 1 is needed"
            )
    return Architecture(name, family, sizes["num_hidden_layers"], dict(_parameters(family, sizes)))


def _parameters(family: Family, sizes: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    yield f"{family.model}.embeddings.word_embeddings.weight", (sizes["vocab_size"], hidden)
    yield f"{family.model}.embeddings.position_embeddings.weight", (sizes["max_position_embeddings"], hidden)
    if family.token_types:
        yield f"{family.model}.embeddings.token_type_embeddings.weight", (sizes["type_vocab_size"], hidden)
    yield from _with_bias(f"{family.model}.embeddings.LayerNorm", hidden)
    for number in range(sizes["num_hidden_layers"]):
        layer = f"{family.model}.{family.layers}.{number}"
        for name in family.attention:
            yield from _with_bias(f"{layer}.{name}", hidden, hidden)
        yield from _with_bias(f"{layer}.{family.attention_norm}", hidden)
        yield from _with_bias(f"{layer}.{family.feed_forward[0]}", inner, hidden)
        yield from _with_bias(f"{layer}.{family.feed_forward[1]}", hidden, inner)
        yield from _with_bias(f"{layer}.{family.output_norm}", hidden)
    if family.relative_positions:
        size = (sizes["relative_attention_num_buckets"], sizes["num_attention_heads"])
        yield f"{family.model}.encoder.relative_attention_bias.weight", size
    yield from _with_bias(family.head.dense, hidden, hidden)
    yield from _with_bias(family.head.out, len(LABELS), hidden)


def _with_bias(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]
