"""Save a trained model as a folder that plain PEFT loads on the base model, head included, and load it again."""

import json
import math
import re
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lora_agnews.config.start_adapter import WEIGHTS, hash_tensors
from lora_agnews.errors import UserError
from lora_agnews.labels import LABELS
from lora_agnews.model.architecture import read_architecture_folder
from lora_agnews.model.build import load_base
from lora_agnews.model.encoder import SHIPPED, Encoder, hash_weights
from lora_agnews.model.lora import CHANGES_BASE

DAMAGED = "is damaged: values of the adapters or the head are missing or changed"
README = """\
# LoRA for {name}, trained on AG News

```python
{imports}

base = transformers.AutoModelForSequenceClassification.from_pretrained(
    {base}, num_labels={num_labels}, dtype="float32"
)
model = peft.PeftModel.from_pretrained(base, "this folder").eval()
```

Classes: {labels}. The file contains the adapters and the whole head. {notes}
"""
EXACT = "The logits are the trained model's, bit for bit."
CONVERTED = """\
{init} subtracts the initial adapter weights from the base weights. For the unchanged
base, the change is stored as an adapter of twice the rank, so the logits are equal up to float32 rounding.
`lora_agnews.model.adapter.load_adapter` returns the trained model bit for bit."""
ADAPTED_HEAD = """\


The head has both an adapter and trained weights of its own. PEFT loads them by name, but its `save_pretrained`
would leave them out. Keep this folder, or call `merge_and_unload()` first."""


def save_adapter(model: peft.PeftModel, encoder: Encoder, folder: Path) -> None:
    """Write adapter_config.json, adapter_model.safetensors and a README that says how to load them.

    A head without an adapter goes into PEFT's modules_to_save. A head with an adapter can't: its own weights are stored
    under PEFT's names for them and loaded by name. If `init` changed the encoder, the file contains s (B A - B0 A0) as
    an adapter of twice the rank. Source: LoraModel.subtract_mutated_init in PEFT.
    """
    head = read_architecture_folder(encoder.name, encoder.folder).head
    config = model.peft_config["default"].to_dict()
    init, alpha = str(config["init_lora_weights"]), config["lora_alpha"]
    tensors = _tensors(model, head)
    config |= {
        "base_model_name_or_path": encoder.name,
        "revision": encoder.revision,
        "inference_mode": True,
        "target_modules": sorted(_lora_layers(model)) or config["target_modules"],
    }
    notes = CONVERTED.format(init=init) if init in CHANGES_BASE else EXACT
    if init in CHANGES_BASE:
        ranks = {name: layer.r["default"] for name, layer in _lora_layers(model).items()}
        for layer in set(ranks).difference(head):
            tensors |= _subtract_initial(tensors, model.first_weights, f"base_model.model.{layer}.")
        config |= {
            "init_lora_weights": True,
            "lora_alpha": alpha * (math.sqrt(2) if config["use_rslora"] else 2),
            "rank_pattern": {layer: r if layer in head else 2 * r for layer, r in ranks.items()},
            "alpha_pattern": {layer: alpha for layer in ranks if layer in head},
        }
    if any(layer in _lora_layers(model) for layer in head):
        base = type(model.get_base_model())
        config["auto_mapping"] = {"base_model_class": base.__name__, "parent_library": base.__module__}
        notes += ADAPTED_HEAD
    else:
        config["task_type"] = "SEQ_CLS"
        config["modules_to_save"] = sorted({"classifier" if "classifier." in layer else layer for layer in head})
    folder.mkdir(parents=True, exist_ok=True)
    weights = hash_weights(encoder.folder)
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    made = {"init": init, "alpha": alpha, "labels": LABELS, "base": weights, "hash": _hash(tensors)}
    save_file(
        tensors,
        folder / WEIGHTS,
        metadata={"lora_agnews": json.dumps(made)},  # a single key, because safetensors writes several in random order
    )
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True, default=str) + "\n")
    source = f'"{encoder.name if encoder.origin.startswith("hub:") else encoder.folder}"'
    imports = "import peft, transformers"
    if encoder.name == SHIPPED:
        imports += "\nfrom lora_agnews.model.encoder import find_encoder"
        source = 'find_encoder("tiny", None).folder'
    labels = ", ".join(f"{number} {label}" for number, label in enumerate(LABELS))
    about = {"name": encoder.name, "imports": imports, "base": source, "num_labels": len(LABELS), "labels": labels}
    (folder / "README.md").write_text(README.format(**about, notes=notes), encoding="utf-8")
    (folder / WEIGHTS).chmod((folder / "README.md").stat().st_mode)  # safetensors allows the owner only


def load_adapter(folder: Path, encoder: Encoder) -> peft.PeftModel:
    """Load the model that `save_adapter` saved, in eval mode. Its logits are the same, bit for bit.

    Raises: UserError, if the folder is damaged, or was trained for other classes or on other base weights;
    RuntimeError, as `load_base`.
    """
    tensors, made = _read(folder)
    init, alpha = made["init"], made["alpha"]
    base = load_base(encoder)
    _check_base(made, encoder, folder)
    head = read_architecture_folder(encoder.name, encoder.folder).head
    try:
        model = load_with_peft(folder, base)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, re.error) as error:
        raise UserError(f"{folder}: PEFT can't load it ({type(error).__name__}: {error})") from error
    whole = _are_finite(tensors) and set(tensors) == set(_tensors(model, head))
    if not whole or made.get("hash", _hash(tensors)) != _hash(tensors):
        raise UserError(f"{folder / WEIGHTS}: {DAMAGED}")
    if init in CHANGES_BASE:
        for name, layer in _lora_layers(model).items():
            if name not in head:
                _restore_initial(layer, alpha)
    return model.eval()


@torch.no_grad()
def copy_adapter(folder: Path, encoder: Encoder, model: peft.PeftModel, chosen: str) -> None:
    """Copy the values that `save_adapter` saved into a model that trains the same parameters with the same scales.

    `chosen` is the hash that the adapter had when it was chosen. `init` of neither model may change the base weights.
    Raises: UserError, if it has another hash now, is damaged, or was trained for other classes or other base weights.
    """
    tensors, made = _read(folder)
    _check_base(made, encoder, folder)
    ours = _tensors(model, read_architecture_folder(encoder.name, encoder.folder).head)
    shapes, own_shapes = ({name: each.shape for name, each in found.items()} for found in (tensors, ours))
    if not _are_finite(tensors) or shapes != own_shapes:
        raise UserError(f"{folder / WEIGHTS}: {DAMAGED}")
    if _hash(tensors) != chosen:
        raise UserError(f"{folder / WEIGHTS}: has changed since it was chosen to start from; its hash is not {chosen}")
    for name, values in tensors.items():
        ours[name].copy_(values)


def load_with_peft(folder: Path, base: nn.Module) -> peft.PeftModel:
    """Load the folder the way any user of PEFT would, in eval mode."""
    return peft.PeftModel.from_pretrained(base, folder).eval()


def read_base(folder: Path) -> tuple[str, str | None]:
    """Return name and revision of the base model that an adapter was trained on. Raises: UserError."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text())
        return str(config["base_model_name_or_path"]), config["revision"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{folder}: its adapter_config.json can't be read ({error})") from error


def _read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and what `save_adapter` wrote about them. Raises: UserError."""
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            made = dict(json.loads((file.metadata() or {})["lora_agnews"]))
            tensors = {name: file.get_tensor(name) for name in set(file.keys())}
            made |= {"init": str(made["init"]), "alpha": int(made["alpha"])}
            labels = list(made.get("labels", LABELS))  # adapters of version 0.1 may store neither these nor their base
    except (OSError, KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        raise UserError(f"{folder / WEIGHTS}: can't be read as what a run saved ({error})") from error
    if labels != list(LABELS):
        raise UserError(f"{folder}: its classes are {', '.join(map(str, labels))}, not {', '.join(LABELS)}")
    return tensors, made


def _check_base(made: dict[str, Any], encoder: Encoder, folder: Path) -> None:
    """Raises: UserError, if an adapter was trained on other base weights."""
    ours = hash_weights(encoder.folder) if not encoder.origin.startswith("hub:") else None
    if ours and ours != made.get("base", ours):
        raise UserError(f"{folder}: was trained on other weights than those in {encoder.folder}")


def _tensors(model: peft.PeftModel, head: tuple[str, ...]) -> dict[str, Tensor]:
    """Collect what a run saves: PEFT's tensors and, for a head with an adapter, the head's own weights."""
    tensors: dict[str, Tensor] = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    others = ("lora_", ".modules_to_save.", ".original_module.")  # already among PEFT's tensors
    for name, value in model.state_dict().items():
        own = name.startswith(tuple(f"base_model.model.{layer}." for layer in head))
        if own and not any(part in name for part in others):
            tensors[name] = value
    return tensors


def _are_finite(tensors: dict[str, Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def _hash(tensors: dict[str, Tensor]) -> str:
    """Return 16 hex digits of all values, so that a damaged file is noticed."""
    return hash_tensors({name: each.contiguous().numpy() for name, each in tensors.items()})


def _lora_layers(model: peft.PeftModel) -> dict[str, Any]:
    layers = model.get_base_model().named_modules()
    return {name: module for name, module in layers if isinstance(module, LoraLayer)}


def _subtract_initial(tensors: dict[str, Tensor], first: dict[str, Tensor], layer: str) -> dict[str, Tensor]:
    """Return the layer's [A; A0] (2r, in) and [B, -B0] (out, 2r)."""
    a, b = f"{layer}lora_A.weight", f"{layer}lora_B.weight"
    first_a, first_b = (first[f"{layer}lora_{part}.default.weight"] for part in "AB")
    return {a: torch.cat([tensors[a].cpu(), first_a]), b: torch.cat([tensors[b].cpu(), -first_b], dim=1)}


@torch.no_grad()
def _restore_initial(layer: Any, alpha: int) -> None:
    """Undo `_subtract_initial` in a loaded layer, with the operations of PEFT's initialisation."""
    a, b = layer.lora_A["default"], layer.lora_B["default"]
    r = a.weight.shape[0] // 2
    (trained_a, first_a), (trained_b, first_b) = a.weight.split(r), b.weight.split(r, dim=1)
    layer.r["default"] = r
    layer.scaling["default"] = alpha / (math.sqrt(r) if layer.use_rslora["default"] else r)
    base = layer.get_base_layer()
    base.weight.data = base.weight - layer.scaling["default"] * -first_b.contiguous() @ first_a.contiguous()
    a.weight, b.weight = nn.Parameter(trained_a.contiguous()), nn.Parameter(trained_b.contiguous())
