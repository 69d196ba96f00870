"""A finished run as a classifier, and what it should answer."""

from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import transformers

from lora_agnews import load_run
from lora_agnews.inference.classifier import Classifier
from lora_agnews.model.encoder import find_encoder
from tests.files_of_rows import TEST_TEXTS

MAX_LENGTH = 16  # of the run


@pytest.fixture(scope="session")
def classify(run_dir: Path) -> Classifier:
    return load_run(run_dir)


@pytest.fixture(scope="session")
def expected(run_dir: Path) -> np.ndarray:
    """Probabilities of the first 60 texts, one at a time, computed with plain transformers and PEFT."""
    folder = find_encoder("tiny", None).folder
    base = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=4, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, run_dir / "adapter").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = []
    for text in TEST_TEXTS[:60]:
        batch = tokenizer([text], truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        with torch.no_grad():
            found.append(model(**batch).logits.softmax(1)[0].numpy())
    return np.array(found)
