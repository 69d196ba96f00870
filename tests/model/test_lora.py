"""Which layers get an adapter of which rank, and how many parameters each option trains."""

from dataclasses import replace
from typing import Any

import pytest

from lora_agnews.config.choices import Head
from lora_agnews.errors import UserError
from lora_agnews.model.architecture import Architecture, parse_architecture
from lora_agnews.model.lora import (
    HEADS,
    adapter_ranks,
    largest_ranks,
    predict_budget,
    targets_without_adapter,
    trained_parameters,
)
from tests.models import HEADS as HEAD_LAYERS
from tests.models import MODULES, MakeLora, config_of

QV = ["query", "value"]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"use_dora": True}, 18_432),
        ({"bias": "all"}, 102_144),
        ({"bias": "lora_only"}, 18_432),
        ({"use_rslora": True}, 0),
        ({"init": "pissa"}, 0),
        ({"init": "gaussian"}, 0),
        ({"dropout": 0.0, "alpha": 16}, 0),
        ({"r": 4}, 3 * 36_864),
        ({"layers": "-4:"}, -8 * 3_072),
        ({"layers": [0, 11]}, -10 * 3_072),
        ({"target_modules": "all-linear"}, 165_888 - 36_864),
        ({"target_modules": {"query": 4, "value": 8}}, 11 * 18_432 - 18_432),
        ({"target_modules": ["query", "value", "classifier.dense"]}, 1_536),
        ({"target_modules": []}, -36_864),
        ({"head": "lora"}, 1_536 - 590_592),
        ({"head": "out_proj"}, -590_592),
        ({"head": "out_proj", "bias": "all"}, 102_144 + 768 - 590_592),
    ],
)
def test_each_option_changes_the_count_by_its_formula(
    roberta_base: Architecture, lora: MakeLora, change: dict[str, Any], difference: int
) -> None:
    plain = predict_budget(roberta_base, lora(target_modules=QV))
    assert plain.trainable == 630_532
    changed = predict_budget(roberta_base, lora(**{"target_modules": QV} | change))
    assert changed.trainable - plain.trainable == difference


def test_of_two_matching_names_the_longer_sets_the_rank(roberta_base: Architecture, lora: MakeLora) -> None:
    ranks = adapter_ranks(
        roberta_base, lora(target_modules={"dense": 2, "intermediate.dense": 5, "classifier.dense": 3})
    )
    assert ranks["roberta.encoder.layer.0.intermediate.dense"] == 5
    assert ranks["roberta.encoder.layer.0.output.dense"] == 2
    assert ranks["classifier.dense"] == 3


@pytest.mark.parametrize(
    ("layers", "numbers"),
    [("-4:", {8, 9, 10, 11}), (":2", {0, 1}), ("3:5", {3, 4}), ([0, -1], {0, 11}), (":", set(range(12)))],
)
def test_layers_are_chosen_as_python_slices_do(
    roberta_base: Architecture, lora: MakeLora, layers: str | list[int], numbers: set[int]
) -> None:
    names = adapter_ranks(roberta_base, lora(target_modules=["query"], layers=layers, head="out_proj"))
    assert set(names) == {f"roberta.encoder.layer.{number}.attention.self.query" for number in numbers}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_modules": ["quary"]}, r"quary matches no Linear layer.*classifier\.dense.*key.*query.*value"),
        ({"target_modules": ["LayerNorm"]}, "LayerNorm matches no Linear layer"),
        ({"target_modules": ["uery"]}, "uery matches no Linear layer"),
        ({"target_modules": {"query": 2, "self.query": 4}}, "query matches only .* a longer name in target_modules"),
        (
            {"target_modules": ["layer.0.attention.self.query"], "layers": [5]},
            r"matches only layers that model\.lora\.layers leaves out or",
        ),
        ({"layers": [1, 12]}, r"model\.lora\.layers=\[1,12\]: there is no layer 12;.*0 to 11"),
        ({"layers": "12:"}, r"model\.lora\.layers=12: chooses no layer.*0 to 11"),
        ({"init": "orthogonal"}, r"model\.lora\.init=orthogonal needs even ranks.*use r=2"),
        ({"init": "pissa", "r": 769}, r"model\.lora\.init=pissa.*r <= 768"),
    ],
)
def test_adapters_that_cannot_be_built_are_refused(
    roberta_base: Architecture, lora: MakeLora, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        predict_budget(roberta_base, lora(**change))


def test_head_out_proj_leaves_the_head_without_an_adapter_and_says_so(
    roberta_base: Architecture, lora: MakeLora
) -> None:
    assert targets_without_adapter(roberta_base, lora(head="out_proj")) == ["classifier.dense"]
    assert targets_without_adapter(roberta_base, lora(head="out_proj", target_modules=["dense"])) == []
    assert targets_without_adapter(roberta_base, lora(head="lora")) == []
    assert "classifier.dense" not in adapter_ranks(roberta_base, lora(head="out_proj", target_modules=["dense"]))


@pytest.mark.parametrize("targets", [["query", "value", "classifier.dense"], "all-linear"])
def test_the_largest_r_fits_and_one_more_does_not(roberta_base: Architecture, lora: MakeLora, targets: Any) -> None:
    table = largest_ranks(roberta_base, lora(r=3, target_modules=targets), 1_000_000)
    assert len(table) == (3 if targets == "all-linear" else 4)
    names = {"[query,value]": QV, "[query,key,value]": ["query", "key", "value"], "all-linear": "all-linear"}
    for row, heads in table.items():
        for head, r in heads.items():
            wanted = lora(target_modules=names.get(row, targets), head=head)
            assert r is not None
            assert predict_budget(roberta_base, replace(wanted, r=r)).fits
            assert not predict_budget(roberta_base, replace(wanted, r=r + 1)).fits


def test_trained_names_of_the_reference_are_adapters_and_head(roberta_base: Architecture, lora: MakeLora) -> None:
    names = {name.removeprefix("base_model.model.") for name in trained_parameters(roberta_base, lora())}
    adapters = {
        f"roberta.encoder.layer.{layer}.attention.self.{target}.lora_{part}.default.weight"
        for layer in range(12)
        for target in QV
        for part in "AB"
    }
    head = {f"classifier.dense.{name}" for name in ("base_layer.weight", "base_layer.bias")}
    head |= {f"classifier.dense.lora_{part}.default.weight" for part in "AB"}
    head |= {"classifier.out_proj.weight", "classifier.out_proj.bias"}
    assert names == adapters | head


@pytest.mark.parametrize("family", MODULES)
@pytest.mark.parametrize(
    ("head", "trained", "adapted"),
    [("full", {"dense", "out"}, set()), ("lora", {"out"}, {"dense"}), ("out_proj", {"out"}, set())],
)
def test_a_head_trains_and_adapts_the_layers_that_its_rule_names_in_every_family(
    lora: MakeLora, family: str, head: str, trained: set[str], adapted: set[str]
) -> None:
    architecture = parse_architecture("it", config_of(family, 16, 1).to_dict())
    names = trained_parameters(architecture, lora(target_modules=[MODULES[family][0]], head=head))
    for role, layer in zip(("dense", "out"), HEAD_LAYERS[family], strict=True):
        own = {name for name in names if f".{layer}." in name and ".lora_" not in name}
        assert bool(own) == (role in trained), role
        biases = 0 if family == "modernbert" and role == "dense" else 1
        assert len(own) in (0, 1 + biases), "weight and bias"
        assert (f"base_model.model.{layer}.lora_A.default.weight" in names) == (role in adapted), role


def test_the_rules_of_the_head_are_keyed_by_the_choices() -> None:
    assert list(HEADS) == list(Head)


@pytest.mark.parametrize("head", Head)
def test_of_a_head_with_one_layer_that_layer_is_trained(lora: MakeLora, head: Head) -> None:
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "true_hidden_size": 16}
    config = {"model_type": "mobilebert", "classifier_activation": False, "num_attention_heads": 2} | sizes
    names = trained_parameters(parse_architecture("it", config), lora(target_modules=[], head=head))
    assert list(names) == ["base_model.model.classifier.weight", "base_model.model.classifier.bias"]


@pytest.mark.parametrize("family", MODULES)
def test_all_linear_adapts_every_linear_layer_of_the_encoders_layers(lora: MakeLora, family: str) -> None:
    """Not the head, nor the projections of the embeddings that ALBERT and small ELECTRA models have below layer 0."""
    architecture = parse_architecture("it", config_of(family, 16, 2).to_dict())
    outside = {*HEAD_LAYERS[family], "albert.encoder.embedding_hidden_mapping_in", "electra.embeddings_project"}
    ranks = adapter_ranks(architecture, lora(target_modules="all-linear", head="full"))
    assert set(ranks) == set(architecture.linears) - outside
    if family != "albert":
        upper = adapter_ranks(architecture, lora(target_modules="all-linear", layers="-1:"))
        assert 2 * len(upper) == len(ranks)


def test_an_unknown_target_is_refused_with_the_names_that_the_family_has(lora: MakeLora) -> None:
    architecture = parse_architecture("it", config_of("modernbert", 16, 2).to_dict())
    with pytest.raises(UserError, match=r"query matches no.*it has Wi, Wo, Wqkv, classifier, head\.dense"):
        adapter_ranks(architecture, lora())
    assert list(largest_ranks(architecture, lora(target_modules=["Wqkv"]), 1_000_000)) == ["[Wqkv]", "all-linear"]


@pytest.mark.parametrize("head", Head)
def test_target_modules_may_adapt_the_head_only_where_the_rule_says_so(
    roberta_base: Architecture, lora: MakeLora, head: Head
) -> None:
    ranks = adapter_ranks(roberta_base, lora(target_modules=["query", "classifier.out_proj"], head=head))
    assert ("classifier.out_proj" in ranks) == HEADS[head].adapts_targets
