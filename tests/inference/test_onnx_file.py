"""model.onnx answers as the network does, in float32 and in int8."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.models import config_of


def test_a_written_network_answers_for_any_number_of_rows_and_stays_close_in_int8(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime", reason='pip install -e ".[onnx]"')
    from lora_agnews.inference.onnx_file import FILE, load_onnx, quantize_onnx, write_onnx

    network = AutoModelForSequenceClassification.from_config(config_of("roberta", hidden=64, layers=1)).eval()
    write_onnx(network, tmp_path)
    size, float32 = (tmp_path / FILE).stat().st_size, load_onnx(tmp_path)
    quantize_onnx(tmp_path)
    assert (tmp_path / FILE).stat().st_size < 0.7 * size
    int8 = load_onnx(tmp_path)
    for rows, length in ((1, 3), (4, 12)):
        inputs = torch.randint(5, 50, (rows, length)), torch.ones(rows, length, dtype=torch.int64)
        with torch.no_grad():
            expected = network(input_ids=inputs[0], attention_mask=inputs[1]).logits
        assert (float32(*inputs) - expected).abs().max() < 1e-5
        assert (int8(*inputs) - expected).abs().max() < 0.02
    assert {path.name for path in tmp_path.iterdir()} == {FILE, "config.json"}
    assert capfd.readouterr().err == ""
