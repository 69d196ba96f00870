"""The SVM learns from words."""

import pytest

from benchmarks.svm import accuracies


@pytest.mark.slow
def test_words_decide() -> None:
    texts, labels = ["oil prices rise", "a match is won"] * 4, [2, 1] * 4
    assert accuracies(texts, labels, [(["oil prices", "the match"], [2, 1]), (["oil prices"], [1])]) == [1, 0]
