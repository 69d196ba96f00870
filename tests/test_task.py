"""The LightningModule: metrics against hand counts, schedules, checkpoints, and the budget at its last two moments."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import peft
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.modeling_outputs import SequenceClassifierOutput

from lora_agnews.budget import count
from lora_agnews.errors import BudgetExceeded
from lora_agnews.model.build import build_model
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import LoraSpec
from lora_agnews.training.optimizers import parameter_groups
from lora_agnews.training.task import LoRAClassifier

ROWS = 12


class Toy(nn.Module):
    """A frozen embedding and a trained classifier that answers like a transformers model; 16 * 4 + 4 are trained."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Embedding(50, 16).requires_grad_(False)
        self.classifier = nn.Linear(16, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.classifier(self.encoder(input_ids).mean(1)))


class Answers(nn.Module):
    """Says what the input says: logits are 5 for the class of the first token, 0 elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(1, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=5.0 * nn.functional.one_hot(input_ids[:, 0], 4).float())


def make_task(model: nn.Module, limit: int = 1_000_000, **changes: Any) -> LoRAClassifier:
    values: dict[str, Any] = {
        "budget": count(model, limit),
        "optimizer": "adam",
        "lr": 0.1,
        "lora_plus_ratio": 1.0,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup_fraction": 0.0,
        "label_smoothing": 0.0,
    }
    return LoRAClassifier(model, **values | changes)


def loader(ids: list[int] | None = None, labels: list[int] | None = None, batch_size: int = 4) -> DataLoader[Any]:
    labels = labels if labels is not None else [i % 4 for i in range(ROWS)]
    ids = ids if ids is not None else [i % 7 for i in range(len(labels))]
    rows = [
        {
            "input_ids": torch.tensor([i, i]),
            "attention_mask": torch.ones(2, dtype=torch.long),
            "labels": torch.tensor(y),
        }
        for i, y in zip(ids, labels, strict=True)
    ]
    return DataLoader(rows, batch_size=batch_size)  # type: ignore[arg-type]


def make_trainer(folder: Path, *callbacks: L.Callback, **changes: Any) -> L.Trainer:
    values: dict[str, Any] = {"max_epochs": 2, "num_sanity_val_steps": 0, "enable_progress_bar": False}
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **values | changes,
    )


def test_test_metrics_equal_hand_counts(tmp_path: Path) -> None:
    # World: 2 of 3 right, one taken for Sports. Sports: 1 of 1. Business: 2 of 2. Sci/Tech: 0 of 2, taken for Business.
    labels = [0, 0, 0, 1, 2, 2, 3, 3]
    answers = [0, 0, 1, 1, 2, 2, 2, 2]
    task = make_task(Answers())
    (metrics,) = make_trainer(tmp_path).test(task, loader(answers, labels, batch_size=3), verbose=False)
    f1 = [2 * 2 / (2 * 2 + 0 + 1), 2 * 1 / (2 * 1 + 1 + 0), 2 * 2 / (2 * 2 + 2 + 0), 0.0]
    assert metrics["test/accuracy"] == pytest.approx(5 / 8)
    names = ("world", "sports", "business", "sci_tech")
    assert [metrics[f"test/f1_{name}"] for name in names] == pytest.approx(f1)
    assert metrics["test/macro_f1"] == pytest.approx(sum(f1) / 4)
    assert task.metrics.confusion.tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 2, 0]]
    right = -torch.log_softmax(torch.tensor([5.0, 0, 0, 0]), 0)
    assert metrics["test/loss"] == pytest.approx(float(5 * right[0] + 3 * right[1]) / 8, rel=1e-5)


def test_the_best_validation_is_remembered_not_the_last(tmp_path: Path) -> None:
    class Spoil(L.Callback):
        """Turns the second epoch's model upside down before it is validated."""

        @torch.no_grad()
        def on_validation_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
            if trainer.current_epoch == 1:
                for parameter in task.model.classifier.parameters():  # type: ignore[union-attr]
                    parameter.neg_()

    task = make_task(Toy(), lr=0.05)
    rows = loader([i % 4 for i in range(ROWS)])
    trainer = make_trainer(tmp_path, Spoil())
    trainer.fit(task, rows, rows)
    assert task.best["val/accuracy"] > float(trainer.callback_metrics["val/accuracy"])


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0.0, [1.0] * 10),
        ("linear", 0.0, [1 - i / 10 for i in range(10)]),
        ("cosine", 0.0, [0.5 * (1 + torch.cos(torch.tensor(i * torch.pi / 10)).item()) for i in range(10)]),
        ("linear", 0.2, [1 / 3, 2 / 3, *(1 - i / 8 for i in range(8))]),
        ("constant", 0.5, [i / 6 for i in range(1, 6)] + [1.0] * 5),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    tmp_path: Path, schedule: str, warmup: float, expected: list[float]
) -> None:
    rates: list[float] = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    task = make_task(Toy(), lr=1.0, schedule=schedule, warmup_fraction=warmup)
    make_trainer(tmp_path, Watch(), max_epochs=-1, max_steps=10).fit(task, loader())
    assert rates == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimizer_holds_what_is_trained_and_nothing_else(tmp_path: Path, name: str, kind: type) -> None:
    task = make_task(Toy(), optimizer=name, weight_decay=0.003)
    trainer = make_trainer(tmp_path, max_steps=1)
    trainer.fit(task, loader())
    (optimizer,) = trainer.optimizers
    assert type(optimizer) is kind
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == 16 * 4 + 4
    assert optimizer.param_groups[0]["weight_decay"] == 0.003


def test_label_smoothing_counts_in_training_and_not_in_evaluation(tmp_path: Path) -> None:
    plain, smooth = make_task(Answers()), make_task(Answers(), label_smoothing=0.1)
    batch = next(iter(loader([0, 1], [0, 1])))
    for task in (plain, smooth):
        task.trainer = make_trainer(tmp_path)
        task.log = lambda *_, **__: None  # type: ignore[method-assign]
    assert smooth.training_step(batch, 0) > plain.training_step(batch, 0)
    losses = [
        make_trainer(tmp_path).test(task, loader([0], [0]), verbose=False)[0]["test/loss"]
        for task in (make_task(Answers()), make_task(Answers(), label_smoothing=0.1))
    ]
    assert losses[0] == losses[1]


class Unfreeze(L.Callback):
    """Unfreezes the encoder at one moment, adding it to the optimizer if asked."""

    def __init__(self, moment: str, into_optimizer: bool = False) -> None:
        self.into_optimizer = into_optimizer
        setattr(self, moment, self.unfreeze)

    def unfreeze(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        parameter = task.model.encoder.weight  # type: ignore[union-attr]
        parameter.requires_grad_(not self.into_optimizer)
        if self.into_optimizer:
            trainer.optimizers[0].add_param_group({"params": [parameter]})


@pytest.mark.parametrize("moment", ["on_fit_start", "on_train_start", "on_train_epoch_start"])
def test_a_model_that_a_callback_unfroze_is_refused_before_the_first_step(tmp_path: Path, moment: str) -> None:
    task = make_task(Toy(), limit=100)
    before = task.model.classifier.weight.clone()  # type: ignore[union-attr, operator]
    with pytest.raises(BudgetExceeded, match=r"868 trainable parameters.*the limit is 100"):
        make_trainer(tmp_path, Unfreeze(moment)).fit(task, loader())
    assert torch.equal(task.model.classifier.weight, before)  # type: ignore[union-attr, arg-type]


def every_bias(model: peft.PeftModel) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.requires_grad_(True)


def modules_to_save(model: peft.PeftModel) -> None:
    model.add_adapter("more", peft.LoraConfig(target_modules=["query"], modules_to_save=["word_embeddings"]))
    model.set_adapter("more")


def resized_embeddings(model: peft.PeftModel) -> None:
    model.get_base_model().resize_token_embeddings(9000)  # type: ignore[operator]
    model.get_base_model().get_input_embeddings().requires_grad_(True)  # type: ignore[operator]


@pytest.mark.parametrize(
    "change", [every_bias, modules_to_save, resized_embeddings], ids=lambda change: change.__name__
)
def test_what_a_callback_makes_trainable_besides_is_refused_before_the_first_step(
    tmp_path: Path, change: Callable[[peft.PeftModel], None], lora: Callable[..., LoraSpec]
) -> None:
    model = build_model(find_encoder("tiny", None), lora(), seed=0)
    exact = count(model).trainable
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    class Change(L.Callback):
        def on_fit_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
            change(model)

    with pytest.raises(BudgetExceeded, match=rf"trainable parameters.*the limit is {exact:,}"):
        make_trainer(tmp_path, Change()).fit(make_task(model, limit=exact), loader())
    left = dict(model.named_parameters())
    assert all(torch.equal(left[name], value) for name, value in before.items() if name in left and "word" not in name)
    make_trainer(tmp_path, max_steps=1).fit(
        make_task(build_model(find_encoder("tiny", None), lora(), 0), limit=exact), loader()
    )


def test_with_lora_plus_the_adapters_b_learn_faster(lora: Callable[..., LoraSpec]) -> None:
    model = build_model(find_encoder("tiny", None), lora(), seed=0)
    (everything,) = parameter_groups(model, 0.1, 1.0)
    slow, fast = parameter_groups(model, 0.1, 16.0)
    assert (slow["lr"], fast["lr"]) == (0.1, 1.6)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(".lora_B." in names[id(parameter)] for parameter in fast["params"])
    assert not any(".lora_B." in names[id(parameter)] for parameter in slow["params"])
    assert len(slow["params"]) + len(fast["params"]) == len(everything["params"])


def test_an_optimizer_that_holds_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BudgetExceeded, match="the optimizer holds 868 parameters; the limit is 100"):
        make_trainer(tmp_path, Unfreeze("on_train_start", into_optimizer=True)).fit(
            make_task(Toy(), limit=100), loader()
        )


def test_a_checkpoint_holds_trained_parameters_only_and_refuses_a_foreign_one(tmp_path: Path) -> None:
    task = make_task(Toy())
    trainer = make_trainer(tmp_path, max_steps=1)
    trainer.fit(task, loader())
    trainer.save_checkpoint(tmp_path / "it.ckpt")
    saved = torch.load(tmp_path / "it.ckpt", weights_only=True)
    assert set(saved["state_dict"]) == {"model.classifier.weight", "model.classifier.bias"}
    restored = make_task(Toy())
    make_trainer(tmp_path).test(restored, loader(), ckpt_path=tmp_path / "it.ckpt", weights_only=True, verbose=False)
    assert torch.equal(restored.model.classifier.weight, task.model.classifier.weight)  # type: ignore[union-attr, arg-type]
    with pytest.raises(ValueError, match="the checkpoint belongs to another model"):
        make_trainer(tmp_path).test(
            make_task(nn.Sequential(Toy())), loader(), ckpt_path=tmp_path / "it.ckpt", weights_only=True
        )
