"""docs/methods.md: every method is there, with recipes that exist, and its figures are the measured ones."""

import re
from pathlib import Path

from training.comparison_page import shown_on
from training.methods import method_names
from training.recipe import read_recipe

ROOT = Path(__file__).parents[2]
PAGE, TABLE = ROOT / "docs/methods.md", ROOT / "docs/methods/table.md"
RECIPES = ROOT / "training/recipes"


def test_every_method_has_a_recipe_on_the_page() -> None:
    named = set(re.findall(r"`([\w-]+)\.toml`", PAGE.read_text(encoding="utf-8")))
    shown = {stage.objective for name in named for stage in read_recipe(RECIPES / f"{name}.toml").stage}
    assert shown == set(method_names())


def test_the_commands_run_every_recipe_that_the_page_describes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    described = set(re.findall(r"`([\w-]+)\.toml`", text.split("## What they are")[1]))
    (loop,) = re.findall(r"for name in (.*?); do", text, re.DOTALL)
    # Those of the speaker classifier have a place of their own; contrastive.toml goes on from another run.
    assert set(loop.replace("\\", " ").split()) == described - {"timbre", "probe", "contrastive"}


def test_the_page_shows_the_measured_table() -> None:
    assert shown_on(PAGE) == TABLE.read_text(encoding="utf-8")
