"""A real browser for the tests: where it is, and what it finds on a page. On the path of every test."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",
)
LIGHT, DARK = "1", "0"  # the browser's own numbers for what the reader prefers

# What is asked of the page, in the page. It stands in a frame of the width asked for, since the window of a headless
# browser is never narrower than 500 pixels.
QUESTIONS = r"""
addEventListener("load", () => {
  const parse = (text) => text.match(/[\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [red, green, blue] = colour.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const contrast = (element) => {
    const colours = [parse(getComputedStyle(element).color).slice(0, 3), ground(element)];
    const [low, high] = colours.map(luminance).sort((first, second) => first - second);
    return (high + 0.05) / (low + 0.05);
  };
  const worded = [...document.body.querySelectorAll("*")].filter((element) =>
    [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  const boxes = [...document.querySelectorAll(".scroll")];
  const smallest = Math.min(...worded.map((element) => parseFloat(getComputedStyle(element).fontSize)));
  parent.postMessage({
    width: innerWidth,
    content: document.scrollingElement.scrollWidth,
    boxes: boxes.length,
    wideBoxes: boxes.filter((box) => box.getBoundingClientRect().right > innerWidth + 0.5).length,
    unreachable: boxes.filter((box) => box.scrollWidth > box.clientWidth && box.tabIndex < 0).length,
    pictures: document.images.length,
    broken: [...document.images].filter((picture) => !picture.naturalWidth).length,
    withoutWords: [...document.images].filter((picture) => !picture.alt.trim()).length,
    fetched: performance.getEntriesByType("resource").map((entry) => entry.name)
      .filter((name) => !name.startsWith("data:")),
    contrast: Math.min(...worded.map(contrast)),
    faint: worded.filter((element) => contrast(element) < 4.5).map((element) => element.outerHTML.slice(0, 120)),
    letters: smallest,
    ground: getComputedStyle(document.body).backgroundColor,
  }, "*");
});
"""


def find_browser() -> str | None:
    """The path of the browser, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def visit(page: Path, width: int, folder: Path, prefers: str = LIGHT) -> dict[str, Any]:
    """What the browser finds on `page` when its window is `width` pixels wide; `folder` is for temporary copies."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = page.read_text(encoding="utf-8").replace("</body>", f"<script>{QUESTIONS}</script></body>")
    (folder / "page.html").write_text(asked, encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(
        f'<!doctype html><iframe src="page.html" style="width: {width}px; height: 800px; border: 0"></iframe><script>'
        'addEventListener("message", (event) => { document.title = JSON.stringify(event.data); });</script>'
    )
    browser = find_browser()
    assert browser, "no browser here; tests/install_browser.sh installs one"
    settings = (f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={prefers}")
    command = [browser, *OPTIONS, *settings, "--dump-dom", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    answer = re.search(r"<title>(\{.*?\})</title>", done.stdout, re.DOTALL)
    assert answer, f"the page did not answer: {done.stdout[-500:]} {done.stderr[-500:]}"
    found: dict[str, Any] = json.loads(unescape(answer[1]))
    return found
