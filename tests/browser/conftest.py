"""A real Chromium with the network cut.

`page_offline` is what a test opens pages in; it keeps whatever went wrong, so that a test can say `problems == []`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from manticore_kit.doctor import find_chromium

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOCAL = ("file:", "data:", "blob:")
DRAWN_MS = 30_000  # a surface on two busy cores, drawn without a GPU

# Draws the figure as a picture and counts its colours: a canvas that stayed empty has one.
COUNT_COLOURS = """async (div) => {
  const picture = new Image();
  picture.src = await Plotly.toImage(div, { format: "png", width: 400, height: 300 });
  await picture.decode();
  const canvas = new OffscreenCanvas(400, 300).getContext("2d");
  canvas.drawImage(picture, 0, 0);
  return new Set(new Uint32Array(canvas.getImageData(0, 0, 400, 300).data.buffer)).size;
}"""


class OfflinePage:
    """A page with no network; `problems` lists failed and foreign requests, console errors and uncaught exceptions."""

    def __init__(self, page: Page):
        self.page = page
        self.problems: list[str] = []
        page.route("**/*", self._cut)
        page.on("requestfailed", lambda request: self.problems.append(f"request failed: {request.url}"))
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))

    def open(self, path: Path) -> Page:
        """Show the file at `path` and wait until its figures are drawn."""
        self.page.goto(path.resolve().as_uri())
        for figure in self.page.locator(".plot").all():
            figure.locator(".main-svg").first.wait_for(state="attached", timeout=DRAWN_MS)
        return self.page

    def colours(self, selector: str) -> int:
        """How many colours the figure at `selector` is drawn in."""
        return self.page.locator(selector).evaluate(COUNT_COLOURS)

    def _cut(self, route: Route) -> None:
        if route.request.url.startswith(LOCAL):
            route.continue_()
        else:
            self.problems.append(f"asked for {route.request.url}")
            route.abort()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """This system's Chromium; tests that need it skip where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium or Chrome on PATH; `make test` installs it on Debian as root")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page_offline(chromium: Browser) -> Iterator[OfflinePage]:
    """A fresh page with the network cut."""
    context = chromium.new_context(offline=True, viewport={"width": 1200, "height": 900})
    yield OfflinePage(context.new_page())
    context.close()
