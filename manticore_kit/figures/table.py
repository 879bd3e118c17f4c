"""A small table that a notebook shows as HTML and a terminal as aligned text."""

from collections.abc import Mapping, Sequence
from html import escape


class Table:
    """Rows with the same columns; values are shown as `str` gives them and never read as markup.

    Columns in which every value is a number are set flush right.
    """

    def __init__(self, rows: Sequence[Mapping[str, object]]):
        self.columns = list(rows[0]) if rows else []
        self.rows = [[_text(row[column]) for column in self.columns] for row in rows]
        self._numeric = [all(isinstance(row[column], int | float) for row in rows) for column in self.columns]

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = [self._line(self.columns, widths), *(self._line(row, widths) for row in self.rows)]
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = zip(cells, widths, self._numeric, strict=True)
        return "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in padded)

    def _repr_html_(self) -> str:
        head = "".join(self._cell("th", cell, right) for cell, right in zip(self.columns, self._numeric, strict=True))
        body = "".join(
            "<tr>"
            + "".join(self._cell("td", cell, right) for cell, right in zip(row, self._numeric, strict=True))
            + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    @staticmethod
    def _cell(tag: str, text: str, right: bool) -> str:
        side = "right" if right else "left"
        return f'<{tag} style="text-align: {side}; white-space: pre-wrap">{escape(text)}</{tag}>'


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
