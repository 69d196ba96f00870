"""model.onnx answers as the network does, in float32 and in int8."""

from pathlib import Path

import pytest
import torch

from tests.models import TINY, some_batch


def test_a_written_network_answers_for_any_number_of_rows_and_stays_close_in_int8(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason='pip install -e ".[onnx]"')
    from lora_agnews.inference.onnx_file import FILE, load_onnx, quantize_onnx, write_onnx
    from lora_agnews.model.build import load_base

    network = load_base(TINY).eval()
    write_onnx(network, tmp_path)
    sizes, answers = [(tmp_path / FILE).stat().st_size], [load_onnx(tmp_path)]
    quantize_onnx(tmp_path)
    sizes, answers = [*sizes, (tmp_path / FILE).stat().st_size], [*answers, load_onnx(tmp_path)]
    assert sizes[1] < 0.3 * sizes[0]
    batch = some_batch()
    for rows in (1, 4):
        inputs = batch["input_ids"][:rows], batch["attention_mask"][:rows]
        with torch.no_grad():
            expected = network(input_ids=inputs[0], attention_mask=inputs[1]).logits
        assert (answers[0](*inputs) - expected).abs().max() < 1e-4
        assert (answers[1](*inputs) - expected).abs().max() < 0.1
    assert {path.name for path in tmp_path.iterdir()} == {FILE, "config.json"}
