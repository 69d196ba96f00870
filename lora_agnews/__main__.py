"""python -m lora_agnews COMMAND: what one does beside training."""

import json
from typing import Annotated

import typer

from lora_agnews.config import UserError
from lora_agnews.launch import check_overrides, fail

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def commands() -> None:
    """LoRA on AG News under a budget of 1,000,000 trainable parameters."""


@app.command()
def budget(
    overrides: Annotated[list[str] | None, typer.Argument(help="overrides of train.py: model=tiny lora.r=4")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for scripts")] = False,
) -> None:
    """What `python train.py OVERRIDES` would train, part by part, and the largest r that fits. Loads no weights."""
    try:
        config = check_overrides("train", overrides or [])
        from lora_agnews import console
        from lora_agnews.plan import predict

        predicted = predict(config)
    except UserError as error:
        fail(str(error), status=2)
    except RuntimeError as error:
        fail(str(error), status=1)
    if as_json:
        print(json.dumps(predicted.to_dict()))
    else:
        console.show_budget(predicted, config.model.name)
    raise typer.Exit(0 if predicted.fits else 1)


if __name__ == "__main__":
    app()
