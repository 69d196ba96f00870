"""Write the names and shapes of the models in conf/model again: lora_agnews/model/architectures/.

python tools/architectures.py                         # of every model there, from the config.json in its file
python tools/architectures.py HUB_ID path/config.json # of another model
"""

import json
import sys
from pathlib import Path
from typing import Any

from lora_agnews.model.architecture import SHIPPED, parse_architecture

FOLDER = Path(str(SHIPPED))


def written(name: str, config: dict[str, Any]) -> str:
    """Return the content of the file of a model: one line for each parameter and Linear layer."""
    found = parse_architecture(name, config)
    values = {"config": config, "kind": found.kind, "head": found.head, "positions": found.positions}
    lines = [f'"{key}": {json.dumps(value)}' for key, value in values.items()]
    for key, content in (("linears", list(found.linears)), ("parameters", found.parameters)):
        lines.append(f'"{key}": {json.dumps(content, separators=(",", ":"))}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        models = {sys.argv[1]: json.loads(Path(sys.argv[2]).read_text())}
    else:
        found = {path: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
        models = {path.stem.replace("--", "/"): values.get("config", values) for path, values in found.items()}
    for name, config in models.items():
        (FOLDER / f"{name.replace('/', '--')}.json").write_text(written(name, config))
