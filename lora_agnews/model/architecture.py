"""Names and shapes of a classifier's parameters, as transformers builds it from a config.json, and where its head is.

The model is built on PyTorch's meta device, without weights. Those of conf/model are shipped ready in architectures/,
because importing PyTorch and transformers takes seconds.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_agnews.budget import layer_number
from lora_agnews.errors import UserError
from lora_agnews.labels import LABELS
from lora_agnews.model.encoder import find_encoder

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

ParameterShapes = dict[str, tuple[int, ...]]
SHIPPED = files("lora_agnews.model") / "architectures"  # written by tools/architectures.py


@dataclass(frozen=True)
class Family:
    """Names of modules in a family of encoders for which the shortcuts of build.py and prefix.py are tested."""

    model: str
    attention: tuple[str, str, str, str]  # query, key, value and output, below layer.N
    attention_norm: str
    feed_forward: tuple[str, str]
    layers: str = "encoder.layer"
    layers_return_tuples: bool = False


BERT = Family(
    model="bert",
    attention=("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    attention_norm="attention.output.LayerNorm",
    feed_forward=("intermediate.dense", "output.dense"),
)
ROBERTA, ELECTRA = replace(BERT, model="roberta"), replace(BERT, model="electra")
MPNET = Family(
    model="mpnet",
    attention=("attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o"),
    attention_norm="attention.LayerNorm",
    feed_forward=("intermediate.dense", "output.dense"),
    layers_return_tuples=True,
)
DISTILBERT = Family(
    model="distilbert",
    attention=("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
    attention_norm="sa_layer_norm",
    feed_forward=("ffn.lin1", "ffn.lin2"),
    layers="transformer.layer",
)
FAMILIES = {
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "bert": BERT,
    "electra": ELECTRA,
    "mpnet": MPNET,
    "distilbert": DISTILBERT,
}


@dataclass(frozen=True)
class Architecture:
    """Names and shapes of a sequence classifier, in the model's order."""

    name: str
    kind: str  # model_type in config.json
    parameters: ParameterShapes
    linears: dict[str, tuple[int, int]]  # Linear layer -> (outputs, inputs)
    head: tuple[str, ...]  # names of the dense layer, if there is one, and of the layer that gives the logits
    positions: int | None  # tokens of the longest text, None without a limit

    @property
    def total(self) -> int:
        return sum(map(prod, self.parameters.values()))

    @property
    def num_layers(self) -> int:
        """Layers of the encoder. Layers that share their weights, as in ALBERT, count once."""
        return 1 + max(number for name in self.linears if (number := layer_number(name)) is not None)

    @property
    def family(self) -> Family | None:
        """The names that the shortcuts need, or None: then there are none."""
        return FAMILIES.get(self.kind)

    @property
    def last_attention_norm(self) -> str:
        """Name of the LayerNorm between attention and feed-forward of the last layer, in a known family."""
        assert self.family
        return f"{self.family.model}.{self.family.layers}.{self.num_layers - 1}.{self.family.attention_norm}"


@cache
def read_architecture(name: str, revision: str | None = None) -> Architecture:
    """Read the architecture of a hub id, a local folder or `tiny`. The models in conf/model need no hub.

    Raises: UserError, if the model can't be used; RuntimeError, if its config.json can't be fetched.
    """
    shipped = SHIPPED / f"{name.replace('/', '--')}.json"
    if revision is None and shipped.is_file():
        found = json.loads(shipped.read_text())
        parameters = {key: tuple(shape) for key, shape in found["parameters"].items()}
        linears: Any = {key: parameters[f"{key}.weight"] for key in found["linears"]}
        return Architecture(name, found["kind"], parameters, linears, tuple(found["head"]), found["positions"])
    return read_architecture_folder(name, find_encoder(name, revision).folder)


def read_architecture_folder(name: str, folder: Path) -> Architecture:
    """Read the architecture of the model in a folder. Raises: UserError."""
    try:
        return _parse(name, (folder / "config.json").read_text())
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"model.name={name}: {folder / 'config.json'} is not JSON ({error})") from error


@cache
def _parse(name: str, text: str) -> Architecture:
    return parse_architecture(name, json.loads(text))


def parse_architecture(name: str, values: dict[str, Any]) -> Architecture:
    """Build the model of a config.json on the meta device, and read its names and shapes.

    The last Linear layer outside the encoder's layers that has an output for each class gives the logits. The Linear
    layer before it is the head's dense layer, unless it belongs to a layer of the encoder.
    Raises: UserError, if transformers can't build a classifier from it, or it is no encoder.
    """
    from torch import nn

    config, model = _build(name, values)
    modules = model.named_modules()
    linears = {each: (m.out_features, m.in_features) for each, m in modules if isinstance(m, nn.Linear)}
    names = list(linears)
    outs = [at for at, each in enumerate(names) if layer_number(each) is None and linears[each][0] == len(LABELS)]
    is_encoder = "attention_mask" in inspect.signature(model.forward).parameters and not config.is_encoder_decoder
    if not (outs and is_encoder and any(layer_number(each) is not None for each in names)):
        raise UserError(
            f"model.name={name}: a {config.model_type} model can't be used; it must be an encoder that has numbered "
            "layers with Linear modules, takes an attention mask, and ends in a Linear layer"
        )
    head = names[max(0, outs[-1] - 1) : outs[-1] + 1]
    return Architecture(
        name=name,
        kind=config.model_type,
        parameters={name: tuple(each.shape) for name, each in model.named_parameters()},
        linears=linears,
        head=tuple(each for each in head if layer_number(each) is None),
        positions=_positions(config, model),
    )


def _build(name: str, values: Any) -> tuple[PretrainedConfig, PreTrainedModel]:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS

    kind = values.get("model_type") if isinstance(values, dict) else None
    if not isinstance(kind, str) or kind not in CLASSIFIERS:
        raise UserError(
            f"model.name={name}: a {kind} model can't be used, because transformers has no sequence classifier for it; "
            "use for example a roberta, bert, electra, albert, deberta-v2 or modernbert model"
        )
    others = {key: value for key, value in values.items() if key not in ("model_type", "id2label", "label2id")}
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            config = AutoConfig.for_model(kind, **others | {"num_labels": len(LABELS)})
            return config, AutoModelForSequenceClassification.from_config(config)
    except Exception as error:  # whatever a value leads to in transformers
        why = " ".join(str(error).split())
        raise UserError(f"model.name={name}: transformers can't build a model from its config.json ({why})") from error


def _positions(config: PretrainedConfig, model: PreTrainedModel) -> int | None:
    """As in RoBERTa, position ids begin after the padding id if the table of positions has one."""
    most = getattr(config, "max_position_embeddings", None) or 0
    tables = [each for name, each in model.named_modules() if name.endswith("position_embeddings")]
    padding = [getattr(table, "padding_idx", None) for table in tables]
    before = max((id + 1 for id in padding if id is not None), default=0)
    return most - before if most > 0 else None
