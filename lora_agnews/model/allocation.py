"""Where the budget is spent: which layers get an adapter of which rank, what of the head is trained, how much that is.

Arithmetic on names and shapes; build.py makes the model from the same answers and counts again.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from math import prod

from lora_agnews.budget import HARD_LIMIT, Budget
from lora_agnews.config import ALL_LINEAR, HEADS, ModelConfig, UserError, spelled
from lora_agnews.model.shape import Shape, Shapes

CHANGES_BASE = ("pissa", "olora")  # what they put into the adapters they take out of the frozen weights


@dataclass(frozen=True)
class Lora:
    """The adapters, and which part of the head is trained; every field as in `model.lora` and `model.head`."""

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
    def of(cls, config: ModelConfig) -> Lora:
        return cls(**asdict(config.lora), head=config.head)


def adapted(shape: Shape, lora: Lora) -> dict[str, int]:
    """Linear layer -> rank of its adapter, in the model's order.

    A target matches by the end of a layer's name; of two the longer decides. head=lora adapts the head's dense layer in
    any case, head=out_proj leaves the head without adapters. `layers` chooses among the encoder's.
    Raises: UserError, for a target that adapts nothing, a layer that is not there, or a rank that `init` can't have.
    """
    ranks = _ranks(shape, lora)
    dense, out = shape.head
    chosen: dict[str, int] = {}
    found: set[str] = set()
    numbers = _layers(shape, lora.layers)
    for name in shape.linears:
        number = re.search(r"\.layer\.(\d+)\.", name)
        matching = [target for target in ranks if _names(target, name)]
        target = max(matching, key=len, default="")
        if number and int(number[1]) not in numbers:
            continue
        found.add(target)
        if name in (dense, out) and lora.head == "out_proj":
            continue
        if target:
            chosen[name] = ranks[target]
        elif name == dense and lora.head == "lora":
            chosen[name] = lora.r
    for target in ranks if lora.target_modules != ALL_LINEAR else ():
        if target not in found:
            matches = any(_names(target, name) for name in shape.linears)
            why = "leaves all to longer names or to model.lora.layers" if matches else "matches no Linear layer"
            raise UserError(
                f"model.lora.target_modules: {target} {why}, so it would adapt nothing; "
                f"{shape.name} has {', '.join(_known(shape))}"
            )
    for name, r in chosen.items():
        _check_init(lora.init, name, r, min(shape.linears[name]))
    return chosen


def left_out(shape: Shape, lora: Lora) -> list[str]:
    """Targets that stay without an adapter since model.head=out_proj wants none on the head."""
    if lora.head != "out_proj":
        return []
    encoder = [layer for layer in shape.linears if layer not in shape.head]
    return [target for target in _ranks(shape, lora) if not any(_names(target, layer) for layer in encoder)]


def trained(shape: Shape, lora: Lora) -> Shapes:
    """Name, as PEFT has it, and shape of every parameter that gets a gradient. Raises: UserError, as `adapted`."""
    ranks = adapted(shape, lora)
    dense, out = shape.head
    whole = {"full": {dense, out}, "lora": {out}, "out_proj": {out}}[lora.head]
    found: Shapes = {}
    for name, size in shape.parameters.items():
        layer, _, kind = name.rpartition(".")
        base = f"base_model.model.{layer}" + (".base_layer" if layer in ranks else "")
        bias = kind == "bias" and (lora.bias == "all" or (lora.bias == "lora_only" and layer in ranks))
        if bias or layer in whole:
            found[f"{base}.{kind}"] = size
    for layer, r in ranks.items():
        outputs, inputs = shape.linears[layer]
        found[f"base_model.model.{layer}.lora_A.default.weight"] = (r, inputs)
        found[f"base_model.model.{layer}.lora_B.default.weight"] = (outputs, r)
        if lora.use_dora:
            found[f"base_model.model.{layer}.lora_magnitude_vector.default.weight"] = (outputs,)
    return found


def predict_budget(shape: Shape, lora: Lora, limit: int = HARD_LIMIT) -> Budget:
    """The budget of a run, before anything of the model is built or loaded. Raises: UserError, as `adapted`."""
    found = trained(shape, lora)
    adapters = [prod(size) for name, size in found.items() if ".lora_" in name]
    r = lora.r if adapters and not isinstance(lora.target_modules, dict) else None
    return Budget(limit, shape.total + sum(adapters), found, r)


def what_fits(shape: Shape, lora: Lora, limit: int) -> list[str]:
    """Overrides other than the rank that would bring the run within the limit."""
    found = []
    for head in HEADS:
        budget = predict_budget(shape, replace(lora, head=head, init="default"), limit)
        if head != lora.head and budget.fits:
            found.append(f"model.head={head}")
        elif head != lora.head and budget.max_r:
            found.append(f"model.head={head} with r <= {budget.max_r}")
    return found


def largest_ranks(shape: Shape, lora: Lora, limit: int) -> dict[str, dict[str, int | None]]:
    """Target modules, the wanted first, -> head -> the largest r within the limit; None without a common rank."""
    query, key, value, _ = (name.split(".")[-1] for name in shape.family.attention)
    found: dict[str, dict[str, int | None]] = {}
    for targets in (lora.target_modules, [query, value], [query, key, value], ALL_LINEAR):
        variants = {head: replace(lora, target_modules=targets, head=head, init="default") for head in HEADS}
        found[spelled(targets)] = {head: predict_budget(shape, each, limit).max_r for head, each in variants.items()}
    return found


def _ranks(shape: Shape, lora: Lora) -> dict[str, int]:
    """Target -> rank."""
    if isinstance(lora.target_modules, dict):
        return lora.target_modules
    if lora.target_modules == ALL_LINEAR:
        return {name: lora.r for name in shape.linears if name not in shape.head}
    return dict.fromkeys(lora.target_modules, lora.r)


def _names(target: str, layer: str) -> bool:
    return f".{layer}".endswith(f".{target}")


def _layers(shape: Shape, layers: str | list[int]) -> set[int]:
    every = range(shape.num_layers)
    if layers == "all":
        return set(every)
    try:
        if isinstance(layers, str):
            chosen = set(every[slice(*(int(part) if part else None for part in layers.split(":")))])
        else:
            chosen = {every[number] for number in layers}
    except IndexError:
        chosen = set()
    if not chosen:
        raise UserError(
            f"model.lora.layers={spelled(layers)} chooses no layer; {shape.name} has 0 to {shape.num_layers - 1}"
        )
    return chosen


def _check_init(init: str, layer: str, r: int, side: int) -> None:
    """PEFT would fail deep inside, or take a smaller rank than asked for."""
    if init == "orthogonal" and r % 2:
        raise UserError(f"model.lora.init=orthogonal needs even ranks, and {layer} has r={r}; use r={r + 1}")
    if init in CHANGES_BASE and r > side:
        raise UserError(f"model.lora.init={init} takes r from the layer's own matrix: {layer} allows r <= {side}")


def _known(shape: Shape) -> list[str]:
    return sorted({name.split(".")[-1] for name in shape.linears if name not in shape.head} | set(shape.head))
