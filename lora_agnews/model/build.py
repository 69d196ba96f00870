"""A pretrained encoder -> RoBERTa with LoRA and a head, frozen and unfrozen as asked."""

import warnings
from dataclasses import dataclass

import peft
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase
from transformers.configuration_utils import PretrainedConfig

from lora_agnews.budget import HARD_LIMIT, Budget, count
from lora_agnews.config import LABELS, UserError
from lora_agnews.hub import fetch
from lora_agnews.model.encoder import Encoder

HEAD = "classifier"
DENSE, OUT_PROJ = "classifier.dense", "classifier.out_proj"
WEIGHTS = ["*.safetensors", "*.safetensors.index.json"]


@dataclass(frozen=True)
class Lora:
    """LoRA on Linear layers, and which part of the head is trained (full | lora | out_proj)."""

    r: int
    alpha: int
    dropout: float
    target_modules: list[str]
    head: str


def load_tokenizer(encoder: Encoder, max_length: int) -> PreTrainedTokenizerBase:
    """The encoder's tokenizer. Raises: UserError, if the encoder has fewer positions than `max_length`."""
    config = _config(encoder)
    positions = config.max_position_embeddings - config.pad_token_id - 1  # RoBERTa counts from padding_idx + 1
    if max_length > positions:
        raise UserError(
            f"data.max_length={max_length}: {encoder.name} has {positions} positions; use at most {positions}"
        )
    return AutoTokenizer.from_pretrained(encoder.folder)


def predict_budget(encoder: Encoder, lora: Lora, limit: int = HARD_LIMIT) -> Budget:
    """The budget of a run from the encoder's config alone: the model is built without memory or weights."""
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(_config(encoder))
        return count(_adapt(model, lora), limit)


def what_fits(encoder: Encoder, lora: Lora, limit: int) -> list[str]:
    """Overrides other than the rank that would bring the run within the limit."""
    smaller = [head for head in ("lora", "out_proj") if head != lora.head]
    others = [Lora(lora.r, lora.alpha, lora.dropout, lora.target_modules, head) for head in smaller]
    return [f"model.head={other.head}" for other in others if predict_budget(encoder, other, limit).fits]


def build_model(encoder: Encoder, lora: Lora, seed: int) -> nn.Module:
    """The classifier, float32, weights loaded, base frozen; the head's first weights are a function of `seed`.

    Its forward takes input_ids and attention_mask (B, T) int64 and gives `.logits` (B, 4) float32.
    Raises: RuntimeError, if weights can't be fetched; UserError, if a target module adapts nothing.
    """
    folder = encoder.folder
    if encoder.origin.startswith("hub:"):
        folder = fetch(encoder.name, "model", WEIGHTS, encoder.revision).folder
    if not list(folder.glob("*.safetensors")):
        raise RuntimeError(f"{encoder.origin}: no *.safetensors weights in {folder}; other formats are not loaded")
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, config=_config(encoder), dtype=torch.float32)
    return _adapt(model, lora)


def _config(encoder: Encoder) -> PretrainedConfig:
    config = AutoConfig.from_pretrained(encoder.folder)
    if config.model_type not in ("roberta", "xlm-roberta", "camembert"):
        raise UserError(f"{encoder.name} is a {config.model_type} model; a RoBERTa is needed")
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {name: label for label, name in enumerate(LABELS)}
    return config


def _adapt(model: nn.Module, lora: Lora) -> nn.Module:
    """Freezes everything, adds the adapters, unfreezes the head's part.

    head=lora always adapts classifier.dense and head=out_proj never does. No task_type: PEFT's SEQ_CLS would move the
    head to modules_to_save and skip classifier.dense without a word.
    """
    targets = list(lora.target_modules)
    if lora.head == "lora" and DENSE not in targets:
        targets.append(DENSE)
    _check_targets(model, targets)
    adapters = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        exclude_modules=[DENSE, OUT_PROJ] if lora.head == "out_proj" else None,
    )
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 for a name it has deprecated
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        wrapped: nn.Module = peft.get_peft_model(model, adapters)
    trained = HEAD if lora.head == "full" else OUT_PROJ
    for name, parameter in model.named_parameters():  # PEFT adapts it in place
        if name.startswith(f"{trained}.") and "lora_" not in name:
            parameter.requires_grad_(True)
    return wrapped.train()  # from_pretrained gives eval mode, and Lightning keeps the mode it finds


def _check_targets(model: nn.Module, targets: list[str]) -> None:
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in linears):
            known = sorted(
                {name.split(".")[-1] for name in linears} | {name for name in linears if name.startswith(HEAD)}
            )
            raise UserError(
                f"model.lora.target_modules: {target} matches no Linear layer, so it would adapt nothing; "
                f"there are {', '.join(known)}"
            )
