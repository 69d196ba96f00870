"""Names and shapes from a config.json are those of the model that transformers builds."""

import pytest
from transformers import AutoConfig

from lora_agnews.model.architecture import FAMILIES, parse_architecture, read_architecture
from tests.models import config_of, names_and_shapes, on_meta


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_architecture_has_the_names_and_sizes_of_the_model_that_transformers_builds(
    family: str, layers: int
) -> None:
    config = config_of(family, 16, layers)
    assert parse_architecture("it", config.to_dict()).parameters == names_and_shapes(on_meta(config))


@pytest.mark.parametrize(
    ("name", "total", "sizes"),
    [
        ("FacebookAI/roberta-base", 124_648_708, (768, 12)),
        ("FacebookAI/roberta-large", 355_363_844, (1024, 24)),
        ("distilbert/distilroberta-base", 82_121_476, (768, 6)),
    ],
)
def test_the_shipped_architectures_are_those_of_the_hubs_models(name: str, total: int, sizes: tuple[int, int]) -> None:
    hidden, layers = sizes
    config = AutoConfig.for_model(
        "roberta",
        vocab_size=50265,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
        max_position_embeddings=514,
        type_vocab_size=1,
        num_labels=4,
    )
    shape = read_architecture(name)
    assert shape.parameters == names_and_shapes(on_meta(config))
    assert shape.total == total
