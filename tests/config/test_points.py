"""The points of a sweep, and the names of their runs."""

from lora_agnews.config.compose import compose_config
from lora_agnews.config.points import name_run


def test_the_name_of_a_run_says_what_varies_and_differs_between_configurations() -> None:
    config, other = (compose_config(["model=tiny", f"optim.lr={lr}"]) for lr in ("1e-3", "2e-3"))
    name = name_run(config, {"model.lora.r": 1, "data.train_file": "a/b c.csv"})
    assert name.startswith("r=1,train_file=a_b_c.csv-")
    assert name != name_run(other, {"model.lora.r": 1, "data.train_file": "a/b c.csv"})
    assert name_run(config, {}).startswith("run-")
