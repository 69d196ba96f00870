"""Where the budget is spent: which layers get an adapter of which rank, what of the head is trained, how much that is.

Arithmetic on names and shapes. build.py builds the model from the same answers and counts it again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import prod

from lora_agnews.budget import HARD_LIMIT, Budget, layer_number
from lora_agnews.config.choices import Head
from lora_agnews.config.rules import to_override
from lora_agnews.config.sections import ModelConfig
from lora_agnews.config.validators import ALL_LINEAR
from lora_agnews.errors import UserError
from lora_agnews.model.architecture import FAMILIES, Architecture, ParameterShapes

CHANGES_BASE = ("pissa", "olora")  # these take the initial adapter weights out of the frozen weights


@dataclass(frozen=True)
class HeadRule:
    """What a value of `model.head` means for the head's dense layer and its last one, which is always trained."""

    trains_dense: bool  # whether the dense layer's own weights are trained
    adapts_targets: bool  # whether target_modules may put an adapter on the head
    adapts_dense: bool  # whether the dense layer gets an adapter in any case


HEADS = {
    Head.FULL: HeadRule(trains_dense=True, adapts_targets=True, adapts_dense=False),
    Head.LORA: HeadRule(trains_dense=False, adapts_targets=True, adapts_dense=True),
    Head.OUT_PROJ: HeadRule(trains_dense=False, adapts_targets=False, adapts_dense=False),
}


@dataclass(frozen=True)
class LoraSpec:
    """The adapters, and the part of the head that is trained. Every field is as in `model.lora` and `model.head`."""

    r: int
    alpha: int
    dropout: float
    target_modules: str | list[str] | dict[str, int]
    layers: str | list[int]
    bias: str
    use_rslora: bool
    use_dora: bool
    init: str
    head: str

    @classmethod
    def of(cls, config: ModelConfig) -> LoraSpec:
        return cls(**asdict(config.lora), head=config.head)

    @property
    def head_rule(self) -> HeadRule:
        return HEADS[Head(self.head)]


def adapter_ranks(architecture: Architecture, lora: LoraSpec) -> dict[str, int]:
    """Return Linear layer -> rank of its adapter, in the model's order.

    A target matches the end of a layer's name; of two matching targets the longer one counts. `layers` selects among
    the encoder's layers. `HEADS` says which layers of the head may get an adapter.
    Raises: UserError, for a target without a match, a layer that does not exist, or a rank that `init` can't have.
    """
    ranks = _target_ranks(architecture, lora)
    head, rule = architecture.head, lora.head_rule
    chosen: dict[str, int] = {}
    found: set[str] = set()
    numbers = _layer_numbers(architecture, lora.layers)
    for name in architecture.linears:
        number = layer_number(name)
        target = max((target for target in ranks if _matches(target, name)), key=len, default="")
        if number is not None and number not in numbers:
            continue
        found.add(target)
        if name in head and not rule.adapts_targets:
            continue
        if target:
            chosen[name] = ranks[target]
        elif name in head[:-1] and rule.adapts_dense:
            chosen[name] = lora.r
    for target in ranks if lora.target_modules != ALL_LINEAR else ():
        if target not in found:
            _raise_adapts_nothing(target, architecture)
    for name, r in chosen.items():
        _check_init(lora.init, name, r, min(architecture.linears[name]))
    return chosen


def prefix_end(architecture: Architecture, lora: LoraSpec) -> int:
    """Return the number of the lowest encoder layer that trains something, or the number of layers if none does.

    Raises: UserError, if layer 0 or what is below it trains something, because then there is no prefix, and for a
    family whose layers can't be left out.
    """
    if not architecture.family:
        raise UserError(
            f"model.prefix=cached: not for {architecture.kind} models, only for {', '.join(FAMILIES)}; "
            "use model.prefix=live"
        )
    if lora.bias == "all":
        raise UserError("model.prefix=cached: model.lora.bias=all trains biases in all layers; use none or lora_only")
    numbers = (layer_number(name) for name in adapter_ranks(architecture, lora) if name not in architecture.head)
    lowest = min((number or 0 for number in numbers), default=architecture.num_layers)
    if lowest == 0:
        upper = max(1, architecture.num_layers // 3)
        raise UserError(
            f"model.prefix=cached needs layers below the lowest adapter, but one is in layer 0 or below it "
            f"(model.lora.layers={to_override(lora.layers)}); use for example model.lora.layers=-{upper}:"
        )
    return lowest


def targets_without_adapter(architecture: Architecture, lora: LoraSpec) -> list[str]:
    """List targets that match only the head and get no adapter because `model.head` allows none there."""
    if lora.head_rule.adapts_targets:
        return []
    encoder = [layer for layer in architecture.linears if layer not in architecture.head]
    ranks = _target_ranks(architecture, lora)
    return [target for target in ranks if not any(_matches(target, layer) for layer in encoder)]


def trained_parameters(architecture: Architecture, lora: LoraSpec) -> ParameterShapes:
    """Return PEFT's name and the shape of every trained parameter. Raises: UserError, as `adapter_ranks`."""
    ranks = adapter_ranks(architecture, lora)
    trained_layers = architecture.head if lora.head_rule.trains_dense else architecture.head[-1:]
    found: ParameterShapes = {}
    for name, size in architecture.parameters.items():
        layer, _, kind = name.rpartition(".")
        base = f"base_model.model.{layer}" + (".base_layer" if layer in ranks else "")
        bias = kind == "bias" and (lora.bias == "all" or (lora.bias == "lora_only" and layer in ranks))
        if bias or layer in trained_layers:
            found[f"{base}.{kind}"] = size
    for layer, r in ranks.items():
        outputs, inputs = architecture.linears[layer]
        found[f"base_model.model.{layer}.lora_A.default.weight"] = (r, inputs)
        found[f"base_model.model.{layer}.lora_B.default.weight"] = (outputs, r)
        if lora.use_dora:
            found[f"base_model.model.{layer}.lora_magnitude_vector.default.weight"] = (outputs,)
    return found


def predict_budget(architecture: Architecture, lora: LoraSpec, limit: int = HARD_LIMIT) -> Budget:
    """Predict the budget before any part of the model is built or loaded. Raises: UserError, as `adapter_ranks`."""
    found = trained_parameters(architecture, lora)
    adapters = [prod(size) for name, size in found.items() if ".lora_" in name]
    r = lora.r if adapters and not isinstance(lora.target_modules, dict) else None
    return Budget(limit, architecture.total + sum(adapters), found, architecture.head, r)


def fitting_heads(architecture: Architecture, lora: LoraSpec, limit: int) -> list[str]:
    """List the values of `model.head` that would fit the limit, some of them with a lower r."""
    found = []
    for head in HEADS:
        budget = predict_budget(architecture, replace(lora, head=head, init="default"), limit)
        if head != lora.head and budget.fits:
            found.append(f"model.head={head}")
        elif head != lora.head and budget.max_r:
            found.append(f"model.head={head} with r <= {budget.max_r}")
    return found


def largest_ranks(architecture: Architecture, lora: LoraSpec, limit: int) -> dict[str, dict[str, int | None]]:
    """Return target modules -> head -> the largest r within the limit, or None without a common rank.

    The target modules of `lora` come first, then common ones.
    """
    attention = architecture.family.attention[:3] if architecture.family else ()
    query_key_value = [name.split(".")[-1] for name in attention]
    common = [query_key_value[::2], query_key_value] if attention else []
    found: dict[str, dict[str, int | None]] = {}
    for targets in (lora.target_modules, *common, ALL_LINEAR):
        specs = {head: replace(lora, target_modules=targets, head=head, init="default") for head in HEADS}
        found[to_override(targets)] = {
            str(head): predict_budget(architecture, spec, limit).max_r for head, spec in specs.items()
        }
    return found


def _target_ranks(architecture: Architecture, lora: LoraSpec) -> dict[str, int]:
    """Target -> rank."""
    if isinstance(lora.target_modules, dict):
        return lora.target_modules
    if lora.target_modules == ALL_LINEAR:
        return {name: lora.r for name in architecture.linears if layer_number(name) is not None}
    return dict.fromkeys(lora.target_modules, lora.r)


def _matches(target: str, layer: str) -> bool:
    return f".{layer}".endswith(f".{target}")


def _layer_numbers(architecture: Architecture, layers: str | list[int]) -> set[int]:
    every = range(architecture.num_layers)
    if layers == "all":
        return set(every)
    has = f"{architecture.name} has the layers 0 to {every[-1]}"
    if isinstance(layers, str):
        chosen = set(every[slice(*(int(part) if part else None for part in layers.split(":")))])
        if not chosen:
            raise UserError(f"model.lora.layers={layers} chooses no layer; {has}")
        return chosen
    for number in layers:
        if not -len(every) <= number < len(every):
            raise UserError(f"model.lora.layers={to_override(layers)}: there is no layer {number}; {has}")
    return {every[number] for number in layers}


def _check_init(init: str, layer: str, r: int, side: int) -> None:
    """Refuse ranks for which PEFT would fail with an obscure error, or silently use a smaller rank."""
    if init == "orthogonal" and r % 2:
        raise UserError(f"model.lora.init=orthogonal needs even ranks, and {layer} has r={r}; use r={r + 1}")
    if init in CHANGES_BASE and r > side:
        raise UserError(
            f"model.lora.init={init} can't have a rank above the smaller side of the layer's matrix: "
            f"{layer} allows r <= {side}"
        )


def _raise_adapts_nothing(target: str, architecture: Architecture) -> None:
    matches = any(_matches(target, name) for name in architecture.linears)
    why = (
        "matches only layers that model.lora.layers leaves out or that a longer name in target_modules matches"
        if matches
        else "matches no Linear layer"
    )
    encoder = {name.split(".")[-1] for name in architecture.linears if name not in architecture.head}
    known = ", ".join(sorted(encoder | set(architecture.head)))
    raise UserError(
        f"model.lora.target_modules: {target} {why}, so it would adapt nothing; {architecture.name} has {known}"
    )
