"""Names and shapes are those of the model that transformers builds, and the head is found in every family."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_agnews.errors import UserError
from lora_agnews.model.architecture import SHIPPED, parse_architecture, read_architecture, read_architecture_folder
from lora_agnews.model.encoder import find_encoder
from tests.models import HEADS, MODULES, config_of, names_and_shapes, on_meta


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("family", MODULES)
def test_an_architecture_has_the_names_and_sizes_of_the_model_that_transformers_builds(
    family: str, layers: int
) -> None:
    config = config_of(family, 16, layers)
    shape = parse_architecture("it", config.to_dict())
    model = on_meta(config)
    assert shape.parameters == names_and_shapes(model)
    kinds = {name: isinstance(model.get_submodule(name), torch.nn.Linear) for name in shape.linears}
    assert all(kinds.values())
    assert shape.head == HEADS[family]
    assert shape.num_layers == (1 if family == "albert" else layers), "the layers of ALBERT share their weights"


def test_a_model_is_built_for_its_names_without_drawing_random_numbers() -> None:
    expected = torch.get_rng_state()
    parse_architecture("it", config_of("modernbert", 16, 3).to_dict())
    assert torch.equal(torch.get_rng_state(), expected)


@pytest.mark.parametrize(
    ("family", "positions"),
    [("bert", 20), ("roberta", 18), ("mpnet", 18), ("distilbert", 20), ("albert", 20), ("modernbert", 20)],
)
def test_position_ids_begin_after_the_padding_id_in_some_families(family: str, positions: int) -> None:
    assert parse_architecture("it", config_of(family, 16, 1).to_dict()).positions == positions


def test_a_head_may_have_only_one_layer_and_a_model_no_largest_position() -> None:
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    qwen = sizes | {"model_type": "qwen2", "intermediate_size": 32, "num_key_value_heads": 2}
    assert parse_architecture("it", qwen).head == ("score",)
    mobile = sizes | {"model_type": "mobilebert", "classifier_activation": False, "true_hidden_size": 16}
    assert parse_architecture("it", mobile).head == ("classifier",)
    xlnet = {"model_type": "xlnet", "vocab_size": 50, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}
    assert parse_architecture("it", xlnet).positions is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "a None model can't be used"),
        ({"model_type": ["bert"]}, "transformers has no sequence classifier for it; use for example a roberta"),
        ({"model_type": "clip"}, "a clip model can't be used.*no sequence classifier"),
        ({"model_type": "gpt2", "n_layer": 1, "n_embd": 12}, "a gpt2 model.*layers with Linear modules"),
        ({"model_type": "fnet", "num_hidden_layers": 1}, "a fnet model.*takes an attention mask"),
        ({"model_type": "bart", "encoder_layers": 1, "decoder_layers": 1}, "a bart model.*must be an encoder"),
        ({"model_type": "bert", "hidden_size": "wide"}, "can't build a model from its config.json.*hidden_size"),
        ({"model_type": "bert", "hidden_size": -768}, "can't build a model from its config.json"),
    ],
    ids=str,
)
def test_a_model_that_is_no_encoder_is_refused(values: Any, message: str) -> None:
    with pytest.raises(UserError, match=rf"^model\.name=it: .*{message}"):
        parse_architecture("it", values)


@pytest.mark.parametrize("path", sorted(Path(str(SHIPPED)).glob("*.json")), ids=lambda path: path.stem)
def test_a_shipped_architecture_is_what_its_config_json_gives(path: Path) -> None:
    name = path.stem.replace("--", "/")
    assert read_architecture(name) == parse_architecture(name, json.loads(path.read_text())["config"])


def test_the_shipped_architectures_are_those_of_the_models() -> None:
    assert read_architecture("FacebookAI/roberta-base").total == 124_648_708
    assert read_architecture("FacebookAI/roberta-large").total == 355_363_844
    assert read_architecture("distilbert/distilroberta-base").total == 82_121_476
    assert read_architecture("tiny") == read_architecture_folder("tiny", find_encoder("tiny", None).folder)
