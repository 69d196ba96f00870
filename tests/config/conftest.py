"""A directory with experiments and a study of a user, for --config-dir."""

import pytest

FILES = {
    "experiment/mine": "# @package _global_\ndefaults:\n  - override /model: tiny\nseed: 3\nmodel: {lora: {r: 5}}\n",
    "experiment/short": "# @package _global_\nlora: {alpha: 7}\n",
    "experiment/nested": "lora: {alpha: 7}\n",
    "experiment/typo": "# @package _global_\noptim: {learning_rate: 1}\n",
    "study/mine": "# @package _global_\nname: mine\noverrides: [experiment=short]\nspace: {lora.r: [1, 2]}\n",
}


@pytest.fixture(scope="session")
def own_files(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("own")
    for name, text in FILES.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return str(folder)
