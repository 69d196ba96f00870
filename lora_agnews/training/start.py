"""model.adapter: start from the adapter and the head of another run."""

from pathlib import Path

from torch import nn

from lora_agnews.config.compose import load_config_file
from lora_agnews.config.rules import config_keys, to_override
from lora_agnews.config.sections import ModelConfig
from lora_agnews.config.start_adapter import ADAPTER, split_adapter
from lora_agnews.errors import UserError
from lora_agnews.model.adapter import copy_adapter
from lora_agnews.model.architecture import read_architecture_folder
from lora_agnews.model.encoder import Encoder
from lora_agnews.model.lora import CHANGES_BASE, LoraSpec, trained_parameters
from lora_agnews.results.record import CONFIG_FILE, RunResult

# Instead of names, the weights are compared.
MAY_DIFFER = ("name", "revision", "prefix", "adapter", "lora.dropout", "lora.init")


def start_from_run(config: ModelConfig, encoder: Encoder, model: nn.Module) -> None:
    """Give a new model the trained values of the run that `model.adapter` names. Its logits are then that run's.

    Raises: UserError, if that run is gone, has not finished, trained something else or on another base model, or if its
    adapter has changed since it was identified.
    """
    run_dir, found = split_adapter(config.adapter or "")
    result = RunResult.load_if_any(run_dir)
    if result is None or not result.succeeded:
        status = result.status.label if result else "not there any more"
        raise UserError(f"model.adapter={run_dir}: the run is {status}; only a finished one can be started from")
    there = load_config_file(run_dir / CONFIG_FILE).model
    if encoder.origin.startswith("hub:") and result.data["model"] != encoder.origin:
        raise UserError(f"model.adapter={run_dir}: was trained on {result.data['model']}, not on {encoder.origin}")
    _check_same(config, there, encoder, run_dir)
    copy_adapter(run_dir / ADAPTER, encoder, model, found)


def _check_same(here: ModelConfig, there: ModelConfig, encoder: Encoder, run_dir: Path) -> None:
    """Raises: UserError, naming the keys that give the adapters other shapes, places or scales."""
    for where, config in (("of this run", here), (f"of {run_dir}", there)):
        if config.lora.init in CHANGES_BASE:
            raise UserError(
                f"model.adapter={run_dir}: model.lora.init={config.lora.init} {where} changes the base weights, so no "
                "other run can start there; use default"
            )
    shape = read_architecture_folder(encoder.name, encoder.folder)
    trained = [trained_parameters(shape, LoraSpec.of(config)) for config in (here, there)]
    scales = [(config.lora.alpha, config.lora.use_rslora) for config in (here, there)]
    if trained[0] == trained[1] and scales[0] == scales[1]:
        return
    wanted = {key: value for key, _, value in config_keys(here)}
    differences = [
        f"model.{key}={to_override(value)} there and {to_override(wanted[key])} here"
        for key, _, value in config_keys(there)
        if key not in MAY_DIFFER and value != wanted[key]
    ]
    raise UserError(f"model.adapter={run_dir} does not fit: {'; '.join(differences)}. Use the values of that run")
