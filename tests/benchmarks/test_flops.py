"""The FLOPs of a training step: by hand, and as PyTorch counts them."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flops import training_flops
from lora_agnews.config.compose import compose_config
from lora_agnews.model.architecture import Architecture, read_architecture_folder
from lora_agnews.model.build import build_model, speed_up_encoder
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import LoraSpec


def test_the_flops_of_roberta_base_are_those_counted_by_hand(roberta_base: Architecture) -> None:
    """12 layers, 768 wide: 4 square matrices of attention, and a feed-forward of 4 + 4 such squares."""
    square = 768 * 768
    forward = 2 * (11 * 12 + 4) * square
    backward = forward - 2 * 3 * square
    first_token = 2 * 2 * 8 * square
    assert training_flops(roberta_base, rows=0, tokens=1) == forward + backward
    assert training_flops(roberta_base, rows=1, tokens=0) == first_token
    assert training_flops(roberta_base, rows=32, tokens=1_730) == 32 * first_token + 1_730 * (forward + backward)


def test_the_flops_are_those_that_pytorch_counts() -> None:
    """All but those of the head and of adapters with r=1, less than one per cent of them."""
    encoder = find_encoder("tiny", None)
    shape = read_architecture_folder(encoder.name, encoder.folder)
    lora = replace(LoraSpec.of(compose_config(["model=tiny"]).model), target_modules=["query", "value"])
    model = build_model(encoder, lora, seed=0)
    speed_up_encoder(model, shape)
    tokens = torch.randint(5, 100, (4, 32))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits.sum().backward()
    matrices = [torch.ops.aten.addmm, torch.ops.aten.mm]
    counted = sum(counter.get_flop_counts()["Global"][each] for each in matrices)
    found = training_flops(shape, rows=4, tokens=4 * 32)
    assert found < counted
    assert found == pytest.approx(counted, rel=0.01)
