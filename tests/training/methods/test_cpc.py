from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.methods.conftest import SMALL, Learn

pytestmark = pytest.mark.timeout(600)


def test_the_future_is_told_from_other_latents(learn: Learn, tmp_path: Path) -> None:
    small = replace(SMALL, dim=64)
    learnt = learn("cpc", options={"ahead": 3}, network=small, steps=24, batch=16, peak_rate=1e-2)
    assert learnt.losses[-1] < learnt.losses[0]
    assert learnt.eer < 50
    assert learnt.export(tmp_path / "model").dim == 64
