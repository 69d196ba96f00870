"""A trained model -> a folder that plain PEFT loads on the base model, head included."""

import json
from pathlib import Path

import peft
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from lora_agnews.model.build import HEAD
from lora_agnews.model.encoder import Encoder

PREFIX = "base_model.model."  # of every key in a PEFT file


def save_adapter(model: peft.PeftModel, encoder: Encoder, folder: Path) -> None:
    """adapter_config.json and adapter_model.safetensors: the encoder's LoRA weights, and the head whole.

    PEFT has no words for a head whose dense layer is trained and adapted at once, so an adapter on the head is merged
    into it: `PeftModel.from_pretrained(base, folder)` gives the same logits up to float rounding.
    Without an adapter on the encoder PEFT finds nothing to adapt and refuses the folder.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.get_base_model().state_dict().items():
        if "lora_" in name and not name.startswith(f"{HEAD}."):
            tensors[PREFIX + name.replace(".default.", ".")] = tensor
    tensors |= {PREFIX + name: tensor for name, tensor in merged_head(model).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        folder / "adapter_model.safetensors",
    )

    config = model.peft_config["default"].to_dict()
    targets = sorted(set(config["target_modules"]))
    config |= {
        "base_model_name_or_path": encoder.name,
        "revision": encoder.revision,
        "task_type": "SEQ_CLS",
        "target_modules": [target for target in targets if not target.startswith(f"{HEAD}.")],
        "exclude_modules": None,
        "modules_to_save": [HEAD],
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True, default=str) + "\n")


@torch.no_grad()
def merged_head(model: peft.PeftModel) -> dict[str, Tensor]:
    """The head's weights under their plain names, adapters added in."""
    merged: dict[str, Tensor] = {}
    for name, module in model.get_base_model().named_modules():
        if name.startswith(f"{HEAD}.") and isinstance(module, LoraLayer):
            layer = module.get_base_layer()
            merged[f"{name}.weight"] = layer.weight + module.get_delta_weight("default")
            merged[f"{name}.bias"] = layer.bias
        elif name.startswith(f"{HEAD}.") and isinstance(module, nn.Linear) and "lora_" not in name:
            merged |= {f"{name}.{key}": value for key, value in module.state_dict().items() if "base_layer" not in name}
    return merged
