"""Every module can be imported where Unix's own modules do not exist, as on Windows."""

from tests.commands import ROOT, run_python

WITHOUT_UNIX = """
import importlib
import sys

import torch, transformers, lightning, peft, wandb, optuna  # other libraries care for themselves

for name in ("fcntl", "resource"):
    sys.modules[name] = None
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_every_module_is_imported_without_fcntl_and_resource() -> None:
    paths = sorted((ROOT / "lora_agnews").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    names = [name for name in names if not name.endswith(("__main__", "inference.demo"))]  # demo needs an extra
    assert len(names) > 60
    done = run_python("-c", WITHOUT_UNIX, *names)
    assert done.returncode == 0, done.stderr
