"""Put train.py, sweep.py and conf/ into the wheel as lora_agnews/scripts. An editable install uses the checkout's."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ScriptsHook(BuildHookInterface):
    """Hatchling calls it before it builds a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files. `version` is "standard" or "editable"."""
        if version == "standard":
            build_data["force_include"] |= {
                name: f"lora_agnews/scripts/{name}" for name in ("train.py", "sweep.py", "conf")
            }
