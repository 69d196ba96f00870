"""Where train.py, sweep.py and conf/ are: in the root of a checkout, or inside the package if a wheel is installed."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
FROM_WHEEL = (PACKAGE / "scripts").is_dir()  # where hatch_build.py puts them
SCRIPTS = PACKAGE / "scripts" if FROM_WHEEL else PACKAGE.parent
CONF = SCRIPTS / "conf"
TRAIN, SWEEP = ("lora-agnews train", "lora-agnews sweep") if FROM_WHEEL else ("python train.py", "python sweep.py")


def install_extra(name: str) -> str:
    """Return the command that installs the packages of an extra of pyproject.toml."""
    return f'pip install "lora_agnews[{name}]"' if FROM_WHEEL else f'pip install -e ".[{name}]"'
