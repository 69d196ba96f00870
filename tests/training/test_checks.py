"""What a run needs on this machine is checked before anything is loaded."""

import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.errors import BudgetExceeded, UserError
from lora_agnews.results.record import RunResult
from lora_agnews.training import tensorboard
from lora_agnews.training.checks import check_before_loading


def test_the_budget_is_recorded_and_checked() -> None:
    config = compose_config(["lora.r=16"])
    result = RunResult.of(config)
    with pytest.raises(BudgetExceeded, match="r <= 10"):
        check_before_loading(config, result)
    assert result.budget["trainable"] > 1_000_000


def test_tensorboard_must_be_installed_if_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    config = compose_config(["model=tiny"])
    check_before_loading(config, RunResult.of(config))
    config = compose_config(["model=tiny", "logger.tensorboard=true"])
    with pytest.raises(UserError, match="pip install tensorboard"):
        check_before_loading(config, RunResult.of(config))


def test_a_run_on_several_machines_must_be_started_on_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose_config(["model=tiny", "trainer.num_nodes=2", "trainer.devices=4"])
    monkeypatch.setenv("NODE_RANK", "0")
    with pytest.raises(UserError, match=r"num_nodes=2: .* srun --nodes=2 --ntasks-per-node=4 .* torchrun --nnodes=2"):
        check_before_loading(config, RunResult.of(config))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29555")
    check_before_loading(config, RunResult.of(config))
