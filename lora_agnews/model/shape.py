"""A model's config.json -> the name and shape of each of its parameters, and which of them are the head.

Arithmetic, no torch: importing it and a model's code takes seconds, a budget takes none. test_allocation.py holds every
family to the model that transformers builds, name by name.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

from lora_agnews.config import LABELS, UserError
from lora_agnews.model.encoder import locate

Shapes = dict[str, tuple[int, ...]]
SHIPPED = files("lora_agnews.model") / "shapes"  # config.json of the models in conf/model: a budget needs no network


@dataclass(frozen=True)
class Family:
    """How a kind of encoder names its layers. The head is `dense`, a square layer, and `out`, hidden size to labels."""

    model: str
    attention: tuple[str, str, str, str]  # query, key, value and output, below layer.N
    attention_norm: str
    feed_forward: tuple[str, str]
    output_norm: str
    dense: str
    out: str
    layers: str = "encoder.layer"
    token_types: bool = False
    relative_positions: bool = False


BERT = Family(
    model="bert",
    attention=("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    attention_norm="attention.output.LayerNorm",
    feed_forward=("intermediate.dense", "output.dense"),
    output_norm="output.LayerNorm",
    dense="bert.pooler.dense",
    out="classifier",
    token_types=True,
)
ROBERTA = replace(BERT, model="roberta", dense="classifier.dense", out="classifier.out_proj")
MPNET = Family(
    model="mpnet",
    attention=("attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o"),
    attention_norm="attention.LayerNorm",
    feed_forward=("intermediate.dense", "output.dense"),
    output_norm="output.LayerNorm",
    dense="classifier.dense",
    out="classifier.out_proj",
    relative_positions=True,
)
DISTILBERT = Family(
    model="distilbert",
    attention=("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
    attention_norm="sa_layer_norm",
    feed_forward=("ffn.lin1", "ffn.lin2"),
    output_norm="output_layer_norm",
    dense="pre_classifier",
    out="classifier",
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
class Shape:
    """A sequence classifier as its config describes it."""

    name: str
    family: Family
    num_layers: int
    parameters: Shapes

    @property
    def total(self) -> int:
        return sum(map(prod, self.parameters.values()))

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Linear layer -> (outputs, inputs), in the model's order; all of them have a bias."""
        return {
            name.removesuffix(".weight"): (shape[0], shape[1])
            for name, shape in self.parameters.items()
            if len(shape) == 2 and name.replace(".weight", ".bias") in self.parameters
        }

    @property
    def last_attention_norm(self) -> str:
        """The LayerNorm between attention and feed-forward of the last layer."""
        family = self.family
        return f"{family.model}.{family.layers}.{self.num_layers - 1}.{family.attention_norm}"

    @property
    def head(self) -> tuple[str, str]:
        return self.family.dense, self.family.out


@cache
def read_shape(name: str, revision: str | None = None) -> Shape:
    """The shape of a hub id, a local folder or `tiny`; of the models in conf/model without the hub.

    Raises: UserError, if it is no model of a known family; RuntimeError, if its config is on a hub out of reach.
    """
    shipped = SHIPPED / f"{name.replace('/', '--')}.json"
    if revision is None and shipped.is_file():
        return shape_of(name, json.loads(shipped.read_text()))
    return read_folder(name, locate(name, revision).folder)


def read_folder(name: str, folder: Path) -> Shape:
    """The shape of the model in a folder. Raises: UserError."""
    try:
        return shape_of(name, json.loads((folder / "config.json").read_text()))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"model.name={name}: {folder / 'config.json'} is not JSON ({error})") from error


def shape_of(name: str, config: dict[str, Any]) -> Shape:
    """The shape that a config.json describes. Raises: UserError, naming the family or the value that is missing."""
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
    return Shape(name, family, sizes["num_hidden_layers"], dict(_parameters(family, sizes)))


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
    yield from _with_bias(family.dense, hidden, hidden)
    yield from _with_bias(family.out, len(LABELS), hidden)


def _with_bias(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]
