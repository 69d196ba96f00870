"""The model card of an export: what it is, how to use it, and how it was trained."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lora_agnews.config.rules import to_override
from lora_agnews.inference.classifier import Run

CARD = """\
---
{meta}---

# {title}

{base} with LoRA, trained on AG News: World, Sports, Business, Sci/Tech.

{usage}
| | |
|---|---|
{facts}

Made with lora_agnews {version}.
"""


def write_card(run: Run, folder: Path, usage: str, library: str, more: Mapping[str, str]) -> None:
    """Write README.md, with the metadata for a model page on the hub. `more` are facts about this export."""
    result, config, base = run.result, run.config, run.config.model.name
    if result.data["model"].startswith("folder:"):
        base = Path(base).name  # a page on the hub should not name folders of this machine
    metrics = {key: value for key, value in result.metrics.items() if key in ("test/accuracy", "test/macro_f1")}
    meta: dict[str, Any] = {"library_name": library, "pipeline_tag": "text-classification", "tags": ["lora", "ag_news"]}
    if result.data["model"].startswith("hub:"):
        meta["base_model"] = base
    if result.data["source"].startswith("hub:"):
        meta["datasets"] = [config.data.name]
    trainable, total = result.budget["trainable"], result.budget["total"]
    source = ", ".join(Path(origin).name for origin in result.data["source"].split(", "))
    environment, lora = result.environment, config.model.lora
    facts = {
        "base": base if base != config.model.name else result.data["model"],
        "adapters": f"r={lora.r}, alpha={lora.alpha}, {to_override(lora.target_modules)}; head: {config.model.head}",
        "trained": f"{trainable:,} of {total:,} parameters; the limit is {result.budget['limit']:,}",
        "data": f"{source}: {result.data['train']:,} training rows, seed {result.seed}",
        **{key: f"{value:.4f} ({result.data['test']:,} rows)" for key, value in metrics.items()},
        **more,
        "training": f"{result.seconds['train']:,.0f} s on {environment['device']} in {environment['precision']}",
        "commit": environment["git_commit"] or "not known",
        "configuration": f"hash {result.config_hash}",
    }
    (folder / "README.md").write_text(
        CARD.format(
            meta=yaml.safe_dump(meta, sort_keys=False),
            title=_escape(run.folder.resolve().name),
            base=_escape(base),
            usage=usage,
            facts="\n".join(f"| {name} | {_escape(value)} |" for name, value in facts.items()),
            version=_escape(environment["versions"]["lora_agnews"]),
        ),
        encoding="utf-8",
    )


def _escape(value: Any) -> str:
    """Escape a value from a record for Markdown and HTML: it may come from somebody else."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", text)
