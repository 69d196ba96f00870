"""AG News: its name on the Hugging Face hub, its four classes, and their spelling in metrics and CSV columns."""

AG_NEWS = "fancyzhx/ag_news"
LABELS = ("World", "Sports", "Business", "Sci/Tech")  # in AG News' own order: label 0 to 3


def label_key(label: str) -> str:
    """Return the spelling of a label inside a metric or column name: "Sci/Tech" becomes "sci_tech"."""
    return label.lower().replace("/", "_")
