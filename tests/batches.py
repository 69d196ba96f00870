"""What is in a batch."""

from lora_agnews.data.batches import Batch


def unpadded(batch: Batch) -> list[list[int]]:
    """Return the rows of a batch without padding, which must be on the right."""
    rows = []
    if "attention_mask" not in batch:
        return [ids.tolist() for ids in batch["input_ids"]]
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        assert mask.tolist() == sorted(mask.tolist(), reverse=True)
        rows.append(ids[: mask.sum()].tolist())
    return rows
