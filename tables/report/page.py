"""Page: a report as one HTML file with its pictures and styles inside, without scripts, that needs no network."""

from __future__ import annotations

from pathlib import Path

import jinja2

from ..render.amounts import duration
from ..render.html_table import html_table
from . import wording
from .contents import Report
from .detections import SENTENCE

TEMPLATE = Path(__file__).with_name("report.jinja")
STYLES = Path(__file__).with_name("report.css")


def page(report: Report) -> str:
    """The whole page. Texts from records are escaped; only styles and tables enter the template unescaped."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    styles = STYLES.read_text(encoding="utf-8")
    fragments = {
        section.table.number: html_table(section.table, list(section.cells), report.results, folded=True)
        for section in report.sections
    }
    variables = {
        "wording": wording,
        "duration": duration,
        "styles": styles,
        "fragments": fragments,
        "detections_sentence": SENTENCE,
    }
    return template.render(report=report, **variables) + "\n"
