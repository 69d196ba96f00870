"""What is predicted is what is counted in the built model and what the optimizer holds, for every option."""

from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from lora_agnews.budget import count
from lora_agnews.errors import UserError
from lora_agnews.model.architecture import Architecture, parse_architecture, read_architecture
from lora_agnews.model.build import adapt
from lora_agnews.model.lora import (
    HEADS,
    LoraSpec,
    adapter_ranks,
    predict_budget,
)
from lora_agnews.training.optimizers import parameter_groups
from tests.models import MODULES, config_of, in_names_of, on_meta

ROLES = ("query", "key", "value", "output", "inner", "dense", "out")


TARGETS = st.one_of(
    st.just("all-linear"),
    st.lists(st.sampled_from(ROLES), unique=True),
    st.dictionaries(st.sampled_from(ROLES), st.integers(1, 6), min_size=1),
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


def check_agreement(model: nn.Module, shape: Architecture, lora: LoraSpec, ratio: float) -> None:
    """Predicted, counted and held by the optimizer: the same names, the same shapes."""
    predicted = predict_budget(shape, lora)
    built = adapt(model, shape, lora)
    assert count(built) == predicted
    groups = parameter_groups(built, 1e-3, ratio)
    assert sum(parameter.numel() for group in groups for parameter in group["params"]) == predicted.trainable
    assert len({id(parameter) for group in groups for parameter in group["params"]}) == len(predicted.trained)


@settings(max_examples=220, deadline=None, suppress_health_check=[HealthCheck.filter_too_much], derandomize=True)
@given(st.sampled_from(list(MODULES)), st.integers(1, 3), OPTIONS, st.sampled_from([1.0, 16.0]))
def test_predicted_is_counted_is_what_the_optimizer_holds(
    family: str, layers: int, lora: LoraSpec, ratio: float
) -> None:
    config = config_of(family, 16, layers)
    shape, lora = parse_architecture("it", config.to_dict()), in_names_of(family, lora)
    try:
        adapter_ranks(shape, lora)
    except UserError:
        assume(False)
    check_agreement(AutoModelForSequenceClassification.from_config(config), shape, lora, ratio)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(OPTIONS)
def test_predicted_is_counted_on_the_architecture_of_roberta_base(lora: LoraSpec) -> None:
    config = AutoConfig.for_model(
        "roberta", vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, num_labels=4
    )
    check_agreement(
        on_meta(config),
        read_architecture("FacebookAI/roberta-base"),
        in_names_of("roberta", replace(lora, init="default")),
        1.0,
    )
