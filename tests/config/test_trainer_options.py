"""Options of Lightning's Trainer: what trainer.extra may contain, and what to use instead of the rest."""

import inspect

import lightning as L
import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.config.identity import config_hash
from lora_agnews.config.trainer_options import ALLOWED, INSTEAD
from lora_agnews.errors import UserError


def test_every_option_exists_and_is_either_allowed_or_refused() -> None:
    options = set(inspect.signature(L.Trainer.__init__).parameters)
    assert set(ALLOWED) | set(INSTEAD) <= options
    assert not set(ALLOWED) & set(INSTEAD)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{max_epochs:3}", r"trainer\.extra=\{max_epochs:3\}: use trainer\.max_epochs$"),
        ("{accumulate_grad_batches:2}", r"use trainer\.accumulate$"),
        ("{limit_val_batches:2}", r"use data\.val_fraction"),
        ("{fast_dev_run:true}", "use debug=fast"),
        ("{limit_train_batch:3}", "must be one of limit_train_batches"),
        ("{limit_train_batches:0}", "a number of batches per epoch"),
        ("{limit_train_batches:1.5}", "a number of batches per epoch"),
        ("{limit_train_batches:true}", "a number of batches per epoch"),
        ("{detect_anomaly:1}", "must be true or false"),
        ("{profiler:fast}", "must be simple or advanced"),
        ("[limit_train_batches]", r"trainer\.extra=\[limit_train_batches\]: must be null, or a mapping in quotes"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_with_the_remedy(options: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose_config([f"trainer.extra={options}"])


def test_the_options_are_part_of_the_identity_of_a_run() -> None:
    hashes = [
        config_hash(compose_config([f"trainer.extra={options}"]).to_dict())
        for options in ("null", "{}", "{limit_train_batches:0.5}", "{limit_train_batches:1}")
    ]
    assert hashes[0] == hashes[1] == config_hash(compose_config([]).to_dict())
    assert len(set(hashes)) == 3
