"""The tables of docs/results.md are those that benchmarks/records gives."""

from benchmarks.results import PAGE, TABLE, TABLES, filled


def test_the_tables_of_the_page_are_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page, "run python -m benchmarks.results"


def test_every_table_is_on_the_page() -> None:
    assert {found[2] for found in TABLE.finditer(PAGE.read_text(encoding="utf-8"))} == set(TABLES)
