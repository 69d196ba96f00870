"""Where the budget goes, by arithmetic: held to what transformers and PEFT build, for every family and option."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from lora_agnews.budget import count, trainable_parameters
from lora_agnews.config.compose import compose_config
from lora_agnews.errors import UserError
from lora_agnews.model.architecture import FAMILIES, Architecture, parse_architecture, read_architecture
from lora_agnews.model.build import adapt, keep_first_token_in_last_layer
from lora_agnews.model.lora import (
    HEADS,
    LoraSpec,
    adapter_ranks,
    largest_ranks,
    predict_budget,
    targets_without_adapter,
    trained_parameters,
)
from lora_agnews.model.plan import predict
from lora_agnews.training.optimizers import parameter_groups

MakeLora = Callable[..., LoraSpec]
QV = ["query", "value"]


@cache
def config_of(family: str, hidden: int, layers: int) -> Any:
    sizes = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers}
    if family == "distilbert":
        sizes = {"dim": hidden, "hidden_dim": 3 * hidden, "n_layers": layers, "n_heads": 2}
    else:
        sizes |= {"num_attention_heads": 2, "type_vocab_size": 1 + (family == "bert")}
    return AutoConfig.for_model(family, vocab_size=50, max_position_embeddings=20, num_labels=4, **sizes)


def on_meta(config: Any) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = AutoModelForSequenceClassification.from_config(config)
    return model


def names_and_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_shape_has_the_names_and_sizes_of_the_model_that_transformers_builds(family: str, layers: int) -> None:
    config = config_of(family, 16, layers)
    assert parse_architecture("it", config.to_dict()).parameters == names_and_shapes(on_meta(config))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_last_layer_of_one_token_gives_the_same_logits_and_gradients(family: str, lora: MakeLora) -> None:
    config = config_of(family, 16, 2)
    shape = parse_architecture("it", config.to_dict())
    torch.manual_seed(0)
    chosen = in_the_words_of(family, lora(r=2, target_modules="all-linear", dropout=0.0, init="gaussian"))
    model = adapt(AutoModelForSequenceClassification.from_config(config), shape, chosen).eval()
    for part in trainable_parameters(model).values():
        nn.init.normal_(part, std=0.1)
    ids, mask = torch.randint(5, 50, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[0, 4:] = 0
    found, last = [], model.get_submodule(f"base_model.model.{shape.last_attention_norm}")
    seen: list[torch.Size] = []
    last.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    for _ in range(2):
        output = model(input_ids=ids, attention_mask=mask, labels=torch.tensor([0, 1, 2]))
        model.zero_grad()
        output.loss.backward()
        found.append((output.logits, {name: part.grad for name, part in trainable_parameters(model).items()}))
        keep_first_token_in_last_layer(model, shape)
    assert seen == [(3, 9, 16), (3, 1, 16)]
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "total", "sizes"),
    [
        ("FacebookAI/roberta-base", 124_648_708, (768, 12)),
        ("FacebookAI/roberta-large", 355_363_844, (1024, 24)),
        ("distilbert/distilroberta-base", 82_121_476, (768, 6)),
    ],
)
def test_the_shipped_shapes_are_the_hubs_models(name: str, total: int, sizes: tuple[int, int]) -> None:
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


def own(family: str, names: list[str]) -> list[str]:
    """Roberta's names of modules in the words of another family."""
    attention = FAMILIES[family].attention
    words = {"query": attention[0], "key": attention[1], "value": attention[2], "output": attention[3]}
    words |= {
        "inner": FAMILIES[family].feed_forward[0],
        "dense": FAMILIES[family].head.dense,
        "out": FAMILIES[family].head.out,
    }
    return [words[name] for name in names]


MODULES = ("query", "key", "value", "output", "inner", "dense", "out")
TARGETS = st.one_of(
    st.just("all-linear"),
    st.lists(st.sampled_from(MODULES), unique=True),
    st.dictionaries(st.sampled_from(MODULES), st.integers(1, 6), min_size=1),
)
OPTIONS = st.builds(
    LoraSpec,
    r=st.integers(1, 6),
    alpha=st.integers(1, 16),
    dropout=st.sampled_from([0.0, 0.5]),
    target_modules=TARGETS,
    layers=st.sampled_from(["all", "-1:", ":1", [0], [-1], ":"]),
    bias=st.sampled_from(["none", "all", "lora_only"]),
    use_rslora=st.booleans(),
    use_dora=st.booleans(),
    init=st.sampled_from(["default", "gaussian", "pissa", "olora", "orthogonal"]),
    head=st.sampled_from(list(HEADS)),
)


def in_the_words_of(family: str, lora: LoraSpec) -> LoraSpec:
    targets = lora.target_modules
    if isinstance(targets, dict):
        targets = dict(zip(own(family, list(targets)), targets.values(), strict=True))
    elif targets != "all-linear":
        targets = own(family, list(targets))
    return replace(lora, target_modules=targets)


def agree(model: nn.Module, shape: Architecture, lora: LoraSpec, ratio: float) -> None:
    """Predicted, counted and held by the optimizer: the same names, the same shapes."""
    predicted = predict_budget(shape, lora)
    built = adapt(model, shape, lora)
    assert count(built) == predicted
    groups = parameter_groups(built, 1e-3, ratio)
    assert sum(parameter.numel() for group in groups for parameter in group["params"]) == predicted.trainable
    assert len({id(parameter) for group in groups for parameter in group["params"]}) == len(predicted.trained)


@settings(max_examples=220, deadline=None, suppress_health_check=[HealthCheck.filter_too_much], derandomize=True)
@given(st.sampled_from(list(FAMILIES)), st.integers(1, 3), OPTIONS, st.sampled_from([1.0, 16.0]))
def test_predicted_is_counted_is_what_the_optimizer_holds(
    family: str, layers: int, lora: LoraSpec, ratio: float
) -> None:
    config = config_of(family, 16, layers)
    shape, lora = parse_architecture("it", config.to_dict()), in_the_words_of(family, lora)
    try:
        adapter_ranks(shape, lora)
    except UserError:
        assume(False)
    agree(AutoModelForSequenceClassification.from_config(config), shape, lora, ratio)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(OPTIONS)
def test_predicted_is_counted_is_held_on_the_shape_of_roberta_base(lora: LoraSpec) -> None:
    config = AutoConfig.for_model(
        "roberta", vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, num_labels=4
    )
    agree(
        on_meta(config),
        read_architecture("FacebookAI/roberta-base"),
        in_the_words_of("roberta", replace(lora, init="default")),
        1.0,
    )


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
        ({"target_modules": {"query": 2, "self.query": 4}}, "query leaves all to longer names"),
        ({"target_modules": ["layer.0.attention.self.query"], "layers": [5]}, r"leaves all to .*model\.lora\.layers"),
        ({"layers": [12]}, r"model\.lora\.layers=\[12\] chooses no layer.*0 to 11"),
        ({"layers": "12:"}, r"model\.lora\.layers=12: chooses no layer.*0 to 11"),
        ({"init": "orthogonal"}, r"model\.lora\.init=orthogonal needs even ranks.*use r=2"),
        ({"init": "pissa", "r": 769}, r"model\.lora\.init=pissa.*r <= 768"),
    ],
)
def test_what_can_not_be_built_is_told(
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


@pytest.mark.parametrize(
    ("overrides", "trainable"),
    [
        ([], 632_068),
        (["experiment=seed"], 632_068),
        (["experiment=lean"], 79_876),
        (["experiment=best"], 888_580),
        (["model=roberta_large", "model.head=lora"], 104_452),
        (["model=distilroberta"], 613_636),
    ],
    ids=str,
)
def test_the_shipped_recipes_train_what_they_promise(overrides: list[str], trainable: int) -> None:
    assert predict(compose_config(overrides)).trainable == trainable


def test_lean_stays_lean_whatever_is_overridden() -> None:
    assert not predict(compose_config(["experiment=lean", "lora.r=3"])).fits


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
