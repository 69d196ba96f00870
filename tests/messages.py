"""What every error message has in common."""


def check_message(message: str, fragments: list[str]) -> None:
    """Check that a message is one line with every fragment, and without the jargon of libraries."""
    assert "\n" not in message
    assert [fragment for fragment in fragments if fragment not in message] == [], message
    for jargon in ("Traceback", "no viable alternative", "mismatched input", "full_key", "DictConfig", "omegaconf"):
        assert jargon not in message
