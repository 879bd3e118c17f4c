"""Tables show what they are given, and nothing of it as markup."""

from manticore_kit.figures import Table

ROWS = [{"model": "<img src=x>", "loss": 4.25, "tokens": 12000}, {"model": "b", "loss": 3.0, "tokens": 7}]


def test_text_is_aligned_by_column():
    assert str(Table(ROWS)).split("\n") == [
        "model         loss  tokens",
        "<img src=x>  4.250  12,000",
        "b            3.000       7",
    ]


def test_html_escapes_names_and_values():
    html = Table([*ROWS, {"model": "a & b", "loss": 1.0, "tokens": 1}])._repr_html_()
    assert "<img" not in html
    assert "&lt;img src=x&gt;" in html
    assert "a &amp; b" in html


def test_an_empty_table_is_empty():
    assert str(Table([])) == ""
