"""Markdown to HTML with formulas as MathML, which browsers draw themselves: no MathJax to fetch."""

import html
from xml.etree import ElementTree

from latex2mathml.converter import convert_to_element
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath


def markdown_to_html(source: str, attachments: dict[str, dict[str, str]] | None = None) -> str:
    """The HTML of a Markdown text; `attachments` are the images of its cell, by name and mime type."""
    renderer = _MathMLRenderer(escape=False, exclude_anchor_links=True, attachments=attachments)
    return MarkdownWithMath(renderer=renderer).render(source)


def tex_to_mathml(tex: str, *, block: bool = False) -> str:
    r"""The MathML of a TeX formula such as `\alpha_{nk}`, or the formula itself as code where it cannot be read."""
    try:
        root = convert_to_element(tex, display="block" if block else "inline")
    except Exception:  # latex2mathml's errors have no common base
        return f"<code>{html.escape(tex)}</code>"
    for element in root.iter():
        element.text = html.unescape(element.text or "")  # it writes symbols as entities; here they are characters
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


class _MathMLRenderer(IPythonRenderer):
    def inline_math(self, body: str) -> str:
        return tex_to_mathml(body)

    def block_math(self, body: str) -> str:
        return tex_to_mathml(body, block=True)

    def latex_environment(self, name: str, body: str) -> str:
        return tex_to_mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", block=True)
