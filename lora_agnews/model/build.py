"""Build the PEFT-wrapped classifier: load the weights, add the adapters, freeze and unfreeze what lora.py says."""

import warnings
from typing import Any

import peft
import torch
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from lora_agnews.budget import layer_number
from lora_agnews.config.choices import Precision
from lora_agnews.errors import UserError
from lora_agnews.hub import fetch
from lora_agnews.labels import LABELS
from lora_agnews.model.architecture import Architecture, read_architecture_folder
from lora_agnews.model.encoder import Encoder
from lora_agnews.model.lora import CHANGES_BASE, LoraSpec, adapter_ranks, trained_parameters

WEIGHTS = ["*.safetensors", "*.safetensors.index.json"]
AUTOCAST_DTYPES = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}


def load_tokenizer(encoder: Encoder, max_length: int) -> PreTrainedTokenizerBase:
    """Load the encoder's tokenizer.

    Raises: UserError, if the encoder has fewer positions than `max_length`, or its tokenizer can't be used.
    """
    positions = read_architecture_folder(encoder.name, encoder.folder).positions
    if positions and max_length > positions:
        raise UserError(
            f"data.max_length={max_length}: {encoder.name} has {positions} positions; use at most {positions}"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(encoder.folder, trust_remote_code=False)
    except Exception as error:  # whatever a file of the tokenizer leads to in transformers
        raise UserError(f"model.name={encoder.name}: its tokenizer can't be loaded ({error})") from error
    if tokenizer.pad_token_id is None or not tokenizer.is_fast:
        raise UserError(
            f"model.name={encoder.name}: its tokenizer can't be used; it needs a padding token and a tokenizer.json"
        )
    return tokenizer


def build_model(encoder: Encoder, lora: LoraSpec, seed: int) -> peft.PeftModel:
    """Build the classifier in float32: pretrained weights, frozen base, adapters. New weights depend only on `seed`.

    Its forward takes input_ids and attention_mask (B, T) int64 and returns `.logits` (B, 4) float32.
    Raises: RuntimeError, if the weights can't be fetched; UserError, as `adapter_ranks`, `load_base` and
    `check_padding`.
    """
    torch.manual_seed(seed)
    base, shape = load_base(encoder), read_architecture_folder(encoder.name, encoder.folder)
    if not shape.family:
        check_padding(base, encoder.name)
    return adapt(base, shape, lora)


def load_base(encoder: Encoder) -> nn.Module:
    """Load the pretrained encoder with a new head for the four classes.

    Raises: RuntimeError, if there are no weights; UserError, if a matrix is missing outside the head.
    """
    folder = encoder.folder
    if encoder.origin.startswith("hub:"):
        folder = fetch(encoder.name, WEIGHTS, encoder.revision).folder
    if not list(folder.glob("*.safetensors")):
        raise RuntimeError(f"{encoder.origin}: no *.safetensors weights in {folder}; other formats are not loaded")
    config = AutoConfig.from_pretrained(encoder.folder, trust_remote_code=False)
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {name: label for label, name in enumerate(LABELS)}
    model, report = AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, dtype=torch.float32, output_loading_info=True
    )
    shape = read_architecture_folder(encoder.name, encoder.folder)
    head = tuple(f"{layer}." for layer in shape.head)
    # Vectors, such as biases, may be missing: transformers gives them their initial values.
    missing = [name for name in report["missing_keys"] if len(shape.parameters.get(name, ())) > 1]
    missing = sorted(name for name in missing if not name.startswith(head))
    if missing:
        raise UserError(f"model.name={encoder.name}: its weights lack {', '.join(missing[:3])}; use a complete copy")
    loaded: nn.Module = model
    return loaded


@torch.no_grad()
def check_padding(model: nn.Module, name: str) -> None:
    """Refuse a model that reads padding on the right, because then a text's logits would depend on its batch.

    Raises: UserError.
    """
    pad: Any = model.config.pad_token_id or 0  # type: ignore[union-attr]
    ids = torch.tensor([[id for id in range(10) if id != pad]])
    padded = torch.cat([ids, ids])
    padded[0, 5:] = pad
    mask = torch.ones_like(padded)
    mask[0, 5:] = 0
    try:
        found = model(input_ids=padded, attention_mask=mask).logits[0]
        expected = model(input_ids=ids[:, :5]).logits[0]
    except Exception as error:  # whatever the model's code leads to
        raise UserError(f"model.name={name}: can't be called with input_ids and attention_mask ({error})") from error
    if not torch.allclose(found, expected, atol=1e-4):
        raise UserError(f"model.name={name}: its logits depend on the padding behind a text, so it can't be used")


def adapt(model: nn.Module, shape: Architecture, lora: LoraSpec) -> peft.PeftModel:
    """Freeze everything, add the adapters, and unfreeze exactly what `trained_parameters` names.

    PEFT gets every layer by its full name and no task_type: with SEQ_CLS it would move the head to modules_to_save and
    silently skip classifier.dense. `first_weights` of the result holds the initial adapter weights if `init` took them
    out of the base weights. Raises: UserError, as `adapter_ranks`.
    """
    ranks = adapter_ranks(shape, lora)
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 for a deprecated name, and warns of a conversion that adapter.py does itself
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        warnings.filterwarnings("ignore", "Using Rank-Stabilized LoRA with rank_pattern", UserWarning)
        config = peft.LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(ranks) or DUMMY_TARGET_MODULES,
            rank_pattern={layer: r for layer, r in ranks.items() if r != lora.r},
            bias=lora.bias,
            use_rslora=lora.use_rslora,
            use_dora=lora.use_dora,
            init_lora_weights=True if lora.init == "default" else lora.init,
        )
        wrapped = peft.get_peft_model(model, config)
    wanted = trained_parameters(shape, lora)
    for name, parameter in wrapped.named_parameters():
        parameter.requires_grad_(name in wanted)
    wrapped.first_weights = _adapter_weights(wrapped) if lora.init in CHANGES_BASE else {}
    return wrapped.train()  # from_pretrained gives eval mode, and Lightning keeps the mode it finds


def cast_frozen_layers(dtype: torch.dtype, model: nn.Module) -> None:
    """Store the encoder's frozen Linear layers in the autocast dtype, so that they are not cast again at every step.

    Logits, loss and gradients are bit-identical to plain autocast. Skipped for DoRA, which takes norms of the weights
    in float32.
    """
    if isinstance(model, peft.PeftModel) and model.peft_config["default"].use_dora:
        return
    for name, module in model.named_modules():
        is_trained = any(parameter.requires_grad for parameter in module.parameters())
        if isinstance(module, nn.Linear) and layer_number(name) is not None and not is_trained:
            module.to(dtype)


def speed_up_encoder(model: nn.Module, shape: Architecture) -> None:
    """Leave out work of transformers that changes no logit (beyond rounding) and no gradient.

    The last layer computes only the first token after its attention, because the head reads no other token. The mask
    is given in the form that attention needs: transformers would look for padding in a mask (B, T), and so wait for
    the GPU in every step. A model of a family that is not in `FAMILIES` stays as it is.
    """
    if not shape.family:
        return
    base = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    is_sdpa = base.config._attn_implementation == "sdpa"  # type: ignore[union-attr]

    def expand_mask(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mask = kwargs.get("attention_mask")
        if mask is None:
            return args, kwargs
        allowed = mask.bool()[:, None, None, :].expand(-1, -1, mask.shape[1], -1)
        if not is_sdpa:  # added to the attention scores
            dtype: torch.dtype = base.dtype  # type: ignore[assignment]
            scores = torch.zeros(allowed.shape, dtype=dtype, device=mask.device)
            allowed = scores.masked_fill(~allowed, torch.finfo(dtype).min)
        return args, kwargs | {"attention_mask": allowed}

    base.get_submodule(shape.family.model).register_forward_pre_hook(expand_mask, with_kwargs=True)
    norm = dict(base.named_modules()).get(shape.last_attention_norm)  # a model may lack its last layer; see prefix.py
    if norm is not None:
        norm.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, :1],))


def speed_up(model: peft.PeftModel, shape: Architecture, precision: str) -> None:
    """Do what saves time in a precision of Lightning: `cast_frozen_layers`, `speed_up_encoder`."""
    if precision in AUTOCAST_DTYPES:
        cast_frozen_layers(AUTOCAST_DTYPES[Precision(precision)], model)
    speed_up_encoder(model, shape)


def _adapter_weights(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: value.detach().cpu().clone()
        for name, value in model.state_dict().items()
        if ".lora_A." in name or ".lora_B." in name
    }
