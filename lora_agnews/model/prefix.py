"""The prefix of an encoder: its embeddings and the layers below the lowest adapter, whose output never changes.

lora.py says where it ends. This module computes its output, and removes the prefix from the model that is trained on
that output. The names of all other modules and parameters stay as they are.
"""

from contextlib import nullcontext
from typing import Any

import peft
import torch
from torch import Tensor, nn

from lora_agnews.config.choices import Precision
from lora_agnews.model.architecture import Architecture
from lora_agnews.model.build import AUTOCAST_DTYPES, cast_frozen_layers, load_base, speed_up_encoder
from lora_agnews.model.encoder import Encoder


class PassThrough(nn.Module):
    """Stands for the embeddings or for a layer, and returns the hidden states that it gets, (B, T, H) float32."""

    def __init__(self, as_tuple: bool) -> None:
        super().__init__()
        self.as_tuple = as_tuple  # as the layer that it stands for

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given = (each for each in (*args, *kwargs.values()) if isinstance(each, Tensor) and each.is_floating_point())
        states = next(given).float()
        return (states,) if self.as_tuple else states


def keep_layers(model: nn.Module, shape: Architecture, first: int, end: int) -> None:
    """Leave out all encoder layers but `first` to `end` - 1, and for first > 0 the embeddings, too.

    Without embeddings, the model is called with `inputs_embeds`: the hidden states (B, T, H) before layer `first`.
    """
    base = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    family = shape.family
    assert family, "prefix_end refuses other families"
    encoder = base.get_submodule(family.model)
    layers = base.get_submodule(f"{family.model}.{family.layers}")
    assert isinstance(layers, nn.ModuleList)
    for number in range(shape.num_layers):
        if not first <= number < end:
            layers[number] = PassThrough(family.layers_return_tuples)
    if first:
        encoder.embeddings = PassThrough(as_tuple=False)
        if hasattr(encoder, "embeddings_project"):  # of a small ELECTRA
            encoder.embeddings_project = PassThrough(as_tuple=False)


class PartOfEncoder:
    """Some layers of a pretrained encoder in eval mode, from `first` (0: with the embeddings) to `end` - 1."""

    def __init__(
        self, encoder: Encoder, shape: Architecture, first: int, end: int, device: torch.device, precision: str
    ) -> None:
        """Load the weights. `precision` is that of the run. Raises: RuntimeError, if there are none."""
        with torch.random.fork_rng(devices=[]):  # the head, which is not needed, gets random weights
            base = load_base(encoder)
        base.requires_grad_(False).eval()
        keep_layers(base, shape, first, end)
        dtype = AUTOCAST_DTYPES.get(Precision(precision))
        if dtype:
            cast_frozen_layers(dtype, base)
        speed_up_encoder(base, shape)
        self.autocast = torch.autocast(device.type, dtype) if dtype else nullcontext()
        assert shape.family
        self.device, self.encoder = device, base.get_submodule(shape.family.model).to(device)

    def __call__(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the hidden states (B, T, H) float16 after the last of the layers; (B, 1, H) after the encoder's last.

        `batch` has input_ids or inputs_embeds, and attention_mask if a row is padded.
        Raises: RuntimeError, if a value is outside the range of float16.
        """
        names = ("input_ids", "inputs_embeds", "attention_mask")
        inputs = {name: batch[name].to(self.device) for name in names if name in batch}
        with torch.inference_mode(), self.autocast:
            states: Tensor = self.encoder(**inputs).last_hidden_state.to(torch.float16).cpu()
        if not states.isfinite().all():
            raise RuntimeError("model.prefix=cached: a hidden state is outside the range of float16; use live")
        return states
