"""How much arithmetic a training step of `train.py` is, to be compared with the peak of a device."""

from lora_agnews.model.architecture import Architecture


def training_flops(shape: Architecture, rows: float, tokens: float) -> float:
    """Return the FLOPs of the encoder's matrices for `rows` rows that have `tokens` real tokens together.

    A frozen matrix takes 2 FLOPs per weight and token forward and, for the gradient of its inputs, 2 backward. The last
    layer's feed-forward gets only the first token of each row. Nothing below the adapters of the first layer needs a
    gradient, so its query, key and value have no backward pass. Left out: attention scores, adapters and the head.
    """
    family, last = shape.family, shape.num_layers - 1
    assert family, shape.kind

    def weights(layer: int, names: tuple[str, ...]) -> int:
        sizes = [shape.linears[f"{family.model}.{family.layers}.{layer}.{name}"] for name in names]
        return sum(outputs * inputs for outputs, inputs in sizes)

    encoder = sum(weights(layer, family.attention + family.feed_forward) for layer in range(shape.num_layers))
    first_token = weights(last, family.feed_forward)
    no_backward = weights(0, family.attention[:3])
    return (4 * (encoder - first_token) - 2 * no_backward) * tokens + 4 * first_token * rows
