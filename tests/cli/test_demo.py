"""The demo's choice of voices, and its run over HTTP."""

import csv
from pathlib import Path

import pytest

from app.cli import demo
from app.cli.voices import NEIGHBOUR, ROOT, SETS, Cast, Clip, Voice, find_cast, from_corpus, shipped
from tests.served import clip, serving, settings_for


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus of five speakers in each set, six clips of five seconds each; too little in one of them."""
    with (tmp_path / "utterances.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["utterance_id", "speaker_id", "path", "set", "split", "seconds"])
        for name in SETS:
            for speaker in range(5):
                for take in range(2 if speaker == 0 else 6):
                    utterance = f"{name}-{speaker}-{take}"
                    (tmp_path / utterance).write_bytes(utterance.encode())
                    rows.writerow([utterance, f"{name}-{speaker}", utterance, name, "dev", "5.0"])
            rows.writerow([f"{name}-t", f"{name}-train", "nix", name, "train", "50.0"])
    return tmp_path


def test_a_corpus_gives_two_voices_and_a_stranger_of_each_set(corpus: Path) -> None:
    cast = from_corpus(corpus)
    assert (len(cast.known), len(cast.strangers)) == (8, 4)
    everyone = [voice.name for voice in (*cast.known, *cast.strangers)]
    assert len(set(everyone)) == 12
    assert not any(name.endswith(("-0", "-train")) for name in everyone)
    for voice in (*cast.known, *cast.strangers):
        assert voice.held_out.name not in {each.name for each in voice.enroll}
        assert len(voice.enroll) == 3  # 15 s, the first count that reaches 12
    assert from_corpus(corpus) == cast


def test_strangers_are_of_the_set_of_the_voice_that_they_claim(corpus: Path) -> None:
    cast = from_corpus(corpus)
    for position, stranger in enumerate(cast.strangers):
        assert demo.claimed_by(cast, position).name.rsplit("-", 1)[0] == stranger.name.rsplit("-", 1)[0]


@pytest.mark.skipif(not (NEIGHBOUR / "utterances.csv").is_file(), reason="no corpus beside the checkout")
def test_the_real_corpus_has_enough_voices() -> None:
    assert len(from_corpus(NEIGHBOUR).known) == 8


def test_the_clips_of_the_source_serve_where_nothing_else_is() -> None:
    cast = shipped(ROOT / "tests" / "data")
    assert len(cast.known) == 8
    assert cast.strangers
    with pytest.raises(FileNotFoundError, match="--corpus"):
        shipped(ROOT / "no-such-folder")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("corpus", [None, NEIGHBOUR], ids=["synthetic voices", "corpus"])
def test_the_shipped_model_decides_right(
    corpus: Path | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if corpus is not None and not (corpus / "utterances.csv").is_file():
        pytest.skip("no corpus beside the checkout")
    monkeypatch.setattr("app.cli.voices.NEIGHBOUR", tmp_path)
    database = f"sqlite:///{tmp_path}/demo.db"
    settings = settings_for(ROOT / "models", database, model="timbre-2", max_files=20)
    with serving(settings) as client:
        rows, _ = demo.play(client, find_cast(corpus))
    assert len(rows) >= 20
    wrong = [row for row in rows if not row.right]
    assert [f"{row.clip}: {row.asked} score {row.score}, threshold {row.threshold}" for row in wrong] == []


def cast_of(*, impostor: bool = False) -> Cast:
    """Three known synthetic voices and one stranger; an impostor speaks as the third where he should not."""
    known = []
    for number in (1, 2, 3):
        speaks = 1 if impostor and number == 3 else number
        takes = tuple(Clip(f"{number}-{take}", clip(number, take)) for take in range(3))
        known.append(Voice(f"voice-{number}", takes, Clip(f"{number}-held-out", clip(speaks, 5))))
    return Cast("tests", tuple(known), (Voice("stranger", (), Clip("stranger", clip(9, 0))),))


def test_it_asks_about_every_clip_and_cleans_up(cli_models: Path, tmp_path: Path) -> None:
    with serving(settings_for(cli_models, f"sqlite:///{tmp_path}/demo.db")) as client:
        rows, _ = demo.play(client, cast_of())
        assert client.get("/v1/speakers").json()["speakers"] == []
    assert len(rows) == 8
    assert [row.clip for row in rows if not row.right] == []


def test_a_wrong_decision_is_called_wrong(cli_models: Path, tmp_path: Path) -> None:
    with serving(settings_for(cli_models, f"sqlite:///{tmp_path}/demo.db")) as client:
        rows, _ = demo.play(client, cast_of(impostor=True))
    assert {row.asked for row in rows if not row.right} == {"is it voice-3?", "who is it?"}


@pytest.mark.timeout(300)
def test_it_starts_a_server_of_its_own_and_its_exit_code_is_the_verdict(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for impostor, code in ((False, 0), (True, 1)):
        monkeypatch.setattr(demo, "find_cast", lambda _, impostor=impostor: cast_of(impostor=impostor))
        assert demo.run(None) == code
        printed = capsys.readouterr().out
        assert "8 decisions" in printed
        assert ("WRONG" in printed) == impostor
    assert not (environment / "cli.db").exists()
