"""What identifies a run: a hash of its values."""

import copy
import hashlib
import json
from typing import Any

from lora_agnews.config.rules import config_keys
from lora_agnews.config.schema import TrainConfig


def config_hash(config: dict[str, Any]) -> str:
    """Return 12 hex digits that identify the values of a run.

    The keys of `logger` do not count, nor do keys that were added after version 0.1 and have the value `as_before`.
    """
    counted = copy.deepcopy({key: value for key, value in config.items() if key != "logger"})
    for key, spec, _ in config_keys(TrainConfig):
        section, _, name = key.rpartition(".")
        values = counted
        for part in section.split(".") if section else ():
            values = values.get(part, {})
        if name in values and values[name] == spec.metadata["as_before"]:
            del values[name]
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:12]
