"""The four classes of AG News."""

from lora_agnews.labels import LABELS, label_key


def test_labels_are_in_the_order_of_ag_news() -> None:
    assert LABELS == ("World", "Sports", "Business", "Sci/Tech")


def test_keys_of_labels_can_stand_in_metric_names_and_column_names() -> None:
    assert [label_key(name) for name in LABELS] == ["world", "sports", "business", "sci_tech"]
