from pathlib import Path

import pytest

from tests.training.methods.conftest import Learn

pytestmark = pytest.mark.timeout(600)


def test_the_future_is_told_from_other_latents(learn: Learn, tmp_path: Path) -> None:
    learnt = learn("wav2vec", options={"ahead": 3})
    assert learnt.losses[-1] < learnt.losses[0]
    assert learnt.eer < 50
    assert learnt.export(tmp_path / "model").dim == 24
