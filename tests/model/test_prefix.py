"""The prefix is left out without changing a name, and its output is that of the complete encoder."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from lora_agnews.budget import trainable_parameters
from lora_agnews.errors import UserError
from lora_agnews.model.architecture import FAMILIES, Architecture, parse_architecture
from lora_agnews.model.build import adapt, speed_up_encoder
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import prefix_end
from lora_agnews.model.prefix import PartOfEncoder, keep_layers
from tests.models import OTHERS, MakeLora, config_of, in_names_of

CPU = torch.device("cpu")


def padded_ids() -> dict[str, torch.Tensor]:
    ids, mask = torch.randint(5, 50, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[0, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("targets", [["query", "value"], []], ids=["adapters in layers 2 and 3", "only the head"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_live_training_with_the_prefix_in_eval_mode(
    family: str, targets: list[str], lora: MakeLora, tmp_path: Path
) -> None:
    """Up to the rounding of the states to float16: at most 2^-11 of a value."""
    config = config_of(family, 16, 4)
    shape = parse_architecture("it", config.to_dict())
    torch.manual_seed(0)
    base = AutoModelForSequenceClassification.from_config(config)
    base.save_pretrained(tmp_path)
    encoder = find_encoder(str(tmp_path), None)
    chosen = in_names_of(family, lora(r=2, target_modules=targets, layers="2:", dropout=0.0, init="gaussian"))
    end = prefix_end(shape, chosen)
    assert end == (2 if targets else 4)
    model = adapt(base, shape, chosen).eval()
    for part in trainable_parameters(model).values():
        nn.init.normal_(part, std=0.1)
    batch, labels = padded_ids(), torch.tensor([0, 1, 2])
    states = PartOfEncoder(encoder, shape, 0, end, CPU, "32-true")(batch)
    assert states.dtype == torch.float16
    assert states.shape == (3, 9 if targets else 1, 16)
    given = {"inputs_embeds": states} | ({"attention_mask": batch["attention_mask"]} if targets else {})
    found, parameters = [], []
    for inputs in (batch, given):
        output = model(**inputs, labels=labels)
        model.zero_grad()
        output.loss.backward()
        found.append((output.logits, {name: part.grad for name, part in trainable_parameters(model).items()}))
        parameters.append(sum(part.numel() for part in model.parameters()))
        keep_layers(model, shape, end, shape.num_layers)
        speed_up_encoder(model, shape)
    assert found[0][1].keys() == found[1][1].keys()
    torch.testing.assert_close(found[1], found[0], rtol=2e-3, atol=2e-4)
    assert parameters[1] < parameters[0], "the model holds only the layers that run"


def test_a_deeper_prefix_is_computed_from_a_shallower_one(tmp_path: Path) -> None:
    config = config_of("mpnet", 16, 4)
    shape = parse_architecture("it", config.to_dict())
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    encoder, batch = find_encoder(str(tmp_path), None), padded_ids()
    first = PartOfEncoder(encoder, shape, 0, 1, CPU, "32-true")(batch)
    rest = PartOfEncoder(encoder, shape, 1, 3, CPU, "32-true")
    found = rest({"inputs_embeds": first, "attention_mask": batch["attention_mask"]})
    expected = PartOfEncoder(encoder, shape, 0, 3, CPU, "32-true")(batch)
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=5e-3)


def test_loading_a_part_draws_no_random_numbers() -> None:
    encoder = find_encoder("tiny", None)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    PartOfEncoder(encoder, parse_architecture("it", config_of("roberta", 16, 4).to_dict()), 0, 1, CPU, "32-true")
    assert torch.equal(torch.rand(3), expected)


def test_a_state_outside_the_range_of_float16_is_an_error() -> None:
    part = PartOfEncoder.__new__(PartOfEncoder)
    part.device, part.autocast = CPU, torch.autocast("cpu", enabled=False)
    part.encoder = lambda **_: type("Output", (), {"last_hidden_state": torch.tensor([[[1e5]]])})  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match=r"model\.prefix=cached: a hidden state is outside the range of float16"):
        part({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, r"one is in layer 0 or below it \(model\.lora\.layers=all\); use for example model\.lora\.layers=-4:"),
        ({"layers": [0, 11]}, r"model\.lora\.layers=\[0,11\]"),
        ({"layers": "-2:", "bias": "all"}, r"model\.lora\.bias=all trains biases in all layers"),
    ],
    ids=str,
)
def test_a_prefix_that_is_not_frozen_is_refused_with_both_keys(
    roberta_base: Architecture, lora: MakeLora, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=r"model\.prefix=cached.*" + message):
        prefix_end(roberta_base, lora(**change))
    assert prefix_end(roberta_base, lora(layers="-2:", bias="lora_only")) == 10


def test_a_prefix_of_a_small_electra_may_not_have_its_projection_trained(lora: MakeLora) -> None:
    shape = parse_architecture("it", config_of("electra", 16, 4).to_dict())
    assert prefix_end(shape, lora(target_modules=["query"], layers="2:")) == 2
    with pytest.raises(UserError, match=r"model\.prefix=cached needs layers below .* layer 0 or below it"):
        prefix_end(shape, lora(target_modules=["query", "embeddings_project"], layers="2:"))


@pytest.mark.parametrize("family", OTHERS)
def test_a_prefix_is_refused_where_leaving_layers_out_is_not_known_to_be_exact(lora: MakeLora, family: str) -> None:
    shape = parse_architecture("it", config_of(family, 16, 4).to_dict())
    with pytest.raises(UserError, match=r"model\.prefix=cached: not for .* models, only for .*; use"):
        prefix_end(shape, lora(target_modules=[], layers="2:"))
