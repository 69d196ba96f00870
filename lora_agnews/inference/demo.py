"""A local web page to try headlines on a run. The only module that imports gradio."""

import os

from lora_agnews.config.scripts import install_extra

try:
    import gradio
except ImportError as error:
    raise RuntimeError(f"demo needs one more package: {install_extra('demo')}") from error

from lora_agnews.errors import UserError
from lora_agnews.inference.classifier import Classifier
from lora_agnews.terminal.console import print_line

HEADLINES = [
    "Oil prices rise as storm shuts refineries in the Gulf",
    "Champions held to a goalless draw by ten men",
    "New telescope finds water on a planet 120 light years away",
    "Parliament votes to send peacekeepers",
]
FONT = ["ui-sans-serif", "system-ui", "sans-serif"]  # gradio's own fonts come from the network


def serve(classifier: Classifier, name: str, port: int | None) -> None:
    """Serve the page on the loopback address until Ctrl-C. Without a port, the first free one from 7860 is used.

    Raises: UserError, if the port is taken.
    """
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"  # gradio requests its own page to see if it is there

    def classify(headline: str) -> dict[str, float]:
        (found,) = classifier([headline])
        return found.probabilities

    page = gradio.Interface(
        classify,
        gradio.Textbox(label="Headline", lines=3, placeholder=HEADLINES[0]),
        gradio.Label(label="Class", num_top_classes=4),
        examples=HEADLINES,
        cache_examples=False,
        flagging_mode="never",
        title=name,
        deep_link=False,
        analytics_enabled=False,
    )
    theme = gradio.themes.Default(font=FONT, font_mono=["ui-monospace", "monospace"])
    try:
        _, address, _ = page.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            theme=theme,
            footer_links=[],
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        where = f"--port={port}: it is" if port else "the ports from 7860 on are"
        raise UserError(f"{where} taken; choose a free one: --port N") from error
    print_line(f"{address} (Ctrl-C ends it)")
    page.block_thread()
