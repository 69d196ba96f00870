"""A training step changes exactly the parameters that were predicted."""

import pytest
import torch

from lora_agnews.budget import count, trainable_parameters
from lora_agnews.model.architecture import read_architecture
from lora_agnews.model.build import build_model
from lora_agnews.model.lora import predict_budget
from tests.models import OPTIONS, TINY, Change, MakeLora, some_batch


@pytest.mark.parametrize("change", OPTIONS, ids=str)
def test_a_step_changes_what_was_predicted_and_nothing_else(lora: MakeLora, change: Change) -> None:
    """In train mode, with dropout and weight decay: the base stays bit-equal, everything that is trained moves."""
    wanted = lora(r=2, **change)
    model = build_model(TINY, wanted, seed=0)
    assert model.training
    assert count(model) == predict_budget(read_architecture("tiny"), wanted)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trained = trainable_parameters(model)
    optimizer = torch.optim.Adam(trained.values(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        model(**some_batch(), labels=torch.tensor([0, 1, 2, 3])).loss.backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != (name in trained), name
