import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.training.conftest import Evaluated
from training.report import interval, number, percent, table, write_report


class Seen(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page(evaluated: Evaluated) -> str:
    return (evaluated.out / "report.html").read_text(encoding="utf-8")


def test_the_report_needs_nothing_beside_itself(page: str) -> None:
    tags = Seen(page).tags
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    for _, attributes in tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attributes.get(name) or "data:image/").startswith("data:image/")
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert style
    assert not re.search(r"@import|url\(|https?:", style)
    assert not re.search(r"https?://", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page))


def test_every_picture_says_what_it_shows(page: str) -> None:
    pictures = [attributes for tag, attributes in Seen(page).tags if tag == "img"]
    assert len(pictures) == 5
    assert all(len(attributes["alt"] or "") > 30 for attributes in pictures)


def test_it_is_readable_in_the_dark_and_on_a_phone(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in Seen(page).tags


def test_every_figure_of_every_set_is_there(page: str, evaluated: Evaluated) -> None:
    row = evaluated.figures["sets"]["espeak"]
    assert '<th scope="row">espeak</th>' in page
    for shown in (percent(row["eer"]), number(row["min_dcf"]), interval(row["eer_interval"])):
        assert shown in page
    for condition in ("1 s", "10 dB", "8 kHz, GSM 06.10"):
        assert f'<th scope="row">{condition}</th>' in page
    assert "not supported" in page  # 504 impostor trials say nothing of a rate of 0.1 %
    assert not re.search(r"\{\{|\{%|>None<|nan|Undefined", page)


def test_names_from_a_manifest_cannot_write_into_the_page(evaluated: Evaluated, tmp_path: Path) -> None:
    figures = evaluated.figures
    figures["sets"] = {"<script>alert(1)</script>": figures["sets"]["espeak"]}
    page = write_report(figures, tmp_path, set()).read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_speakers_that_were_trained_on_are_pointed_out(evaluated: Evaluated, tmp_path: Path) -> None:
    figures = evaluated.figures | {"speakers_trained_on": 3}
    assert "3 of the speakers are in the training split" in write_report(figures, tmp_path, set()).read_text()


def test_the_table_shows_what_the_trials_do_not_support_as_a_dash(evaluated: Evaluated) -> None:
    line = next(line for line in table(evaluated.figures).splitlines() if line.startswith("| espeak"))
    assert line.split(" | ")[6] == "–"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(0.12345), "12.35"),
        (percent(None, 1, "not supported"), "not supported"),
        (interval((0.1, 0.2)), "10.0–20.0"),
        (interval((0.1, 0.2), 1), "0.100–0.200"),
        (interval(None), "–"),
        (number(None), "–"),
    ],
)
def test_figures_are_shown(shown: str, expected: str) -> None:
    assert shown == expected
