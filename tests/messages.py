"""What every error message has in common."""


def check_message(message: str, fragments: list[str]) -> None:
    """One line that holds every fragment, in words of ours."""
    assert "\n" not in message
    assert [fragment for fragment in fragments if fragment not in message] == [], message
    for jargon in ("Traceback", "no viable alternative", "mismatched input", "full_key", "DictConfig", "omegaconf"):
        assert jargon not in message
