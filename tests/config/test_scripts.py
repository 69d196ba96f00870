"""The scripts and conf/ are found in a checkout and in an installed wheel, and messages name the right command."""

import runpy
import shutil
from pathlib import Path

import pytest

from lora_agnews.config import scripts
from tests.commands import ROOT


def test_in_a_checkout_they_are_in_its_root() -> None:
    assert (scripts.SCRIPTS, scripts.CONF) == (ROOT, ROOT / "conf")
    assert (scripts.FROM_WHEEL, scripts.TRAIN, scripts.SWEEP) == (False, "python train.py", "python sweep.py")
    assert scripts.install_extra("onnx") == 'pip install -e ".[onnx]"'


@pytest.mark.parametrize("beside", ["train.py", "conf"])
def test_in_a_wheel_they_are_inside_the_package_whatever_lies_beside_it(tmp_path: Path, beside: str) -> None:
    (tmp_path / beside).mkdir()
    package = tmp_path / "lora_agnews"
    (package / "scripts").mkdir(parents=True)
    (package / "config").mkdir()
    found = runpy.run_path(str(shutil.copy(str(scripts.__file__), package / "config")))
    assert (found["SCRIPTS"], found["CONF"]) == (package / "scripts", package / "scripts" / "conf")
    assert (found["FROM_WHEEL"], found["TRAIN"], found["SWEEP"]) == (True, "lora-agnews train", "lora-agnews sweep")
    assert found["install_extra"]("onnx") == 'pip install "lora_agnews[onnx]"'
