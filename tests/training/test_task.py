"""The LightningModule: metrics, checkpoints, and the budget at its last two moments."""

from collections.abc import Callable
from pathlib import Path

import lightning as L
import peft
import pytest
import torch
from torch import nn

from lora_agnews.budget import count
from lora_agnews.errors import BudgetExceeded
from lora_agnews.model.build import build_model
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import LoraSpec
from tests.toys import ROWS, Answers, Toy, loader, make_task, make_trainer


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
    assert task.best_predictions["row"].tolist() == list(range(ROWS))
    assert task.best_predictions["label"].tolist() == [i % 4 for i in range(ROWS)]
    correct = task.best_predictions["predicted"] == task.best_predictions["label"]
    assert float(correct.float().mean()) == pytest.approx(task.best["val/accuracy"])


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


@pytest.mark.parametrize("weights", [[1.0, 2.0, 0.5, 3.0], [1, 2, 1, 3]])
def test_class_weights_count_in_training_and_not_in_evaluation(tmp_path: Path, weights: list[float]) -> None:
    plain, weighted = make_task(Answers()), make_task(Answers(), class_weights=weights)
    labels, logits = torch.tensor([0, 1, 3]), torch.tensor([[2.0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 3]])
    by_hand = (
        nn.functional.cross_entropy(logits, labels, reduction="none")
        * torch.tensor(weights, dtype=torch.float32)[labels]
    )
    assert float(weighted.train_criterion(logits, labels).mean()) == pytest.approx(float(by_hand.mean()))
    losses = []
    for task in (plain, weighted):
        trainer = make_trainer(tmp_path)
        losses.append(trainer.test(task, loader([0], [0]), verbose=False)[0]["test/loss"])
    assert losses[0] == losses[1]


def test_the_learning_rate_and_the_norm_of_the_gradient_before_clipping_are_logged(tmp_path: Path) -> None:
    class Seen(L.Callback):
        norm = 0.0

        def on_after_backward(self, trainer: L.Trainer, task: L.LightningModule) -> None:
            flat = [each.grad.flatten() for each in task.parameters() if each.grad is not None]
            self.norm = float(torch.cat(flat).norm())

    seen = Seen()
    trainer = make_trainer(tmp_path, seen, max_steps=2, log_every_n_steps=2, gradient_clip_val=1e-3)
    trainer.fit(make_task(Toy(), lr=0.05), loader())
    assert float(trainer.callback_metrics["train/lr"]) == pytest.approx(0.05)
    assert float(trainer.callback_metrics["train/grad_norm"]) == pytest.approx(seen.norm, rel=1e-5)
    assert seen.norm > 1e-3


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
def test_whatever_a_callback_makes_trainable_is_refused_before_the_first_step(
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
