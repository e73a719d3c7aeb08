import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.scoring import load_calibration
from app.scoring.fitting import SIMILARITY_ONLY, Examples
from tests.scoring.known import TERMS, known_trials
from tests.tiny import write_tiny_model
from training.calibrate import check_speakers, main
from training.choosing import SINGLE, Evidence, choose, mean_over_enrolments
from training.corpus import Source, read_sources
from training.metrics import Trials, draw_trials


def test_durations_are_taken_where_they_pay() -> None:
    evidence = Evidence(["set"], {SINGLE: known_trials(1, 1500, 3000), 4.0: known_trials(2, 1500, 3000)}, 4.0)
    choice = choose(evidence)
    assert choice.terms == TERMS
    costs = choice.by_terms[" + ".join(TERMS)]
    assert costs is not None
    assert costs.by_set is None  # one set cannot be held out
    assert costs.by_speaker.keys() == {SINGLE, 4.0}
    assert costs.by_speaker[4.0] < choice.by_terms["similarity"].by_speaker[4.0]


def test_durations_are_left_out_where_they_only_tell_the_sets_apart() -> None:
    sets = []
    for block, (seconds, shift) in enumerate([(1.0, 0.1), (1.1, 0.0), (1.2, -0.1), (8.0, -0.2)]):
        trials = known_trials(block, 500, 1000, block)
        similarity = trials.similarity + shift
        sets.append(replace(trials, similarity=similarity, speech_s=np.full(1500, seconds)))
    everything = Examples.joined(sets)
    choice = choose(Evidence(list("abcd"), {SINGLE: everything, 4.0: everything}, 4.0))
    plain, with_speech = (choice.by_terms[name] for name in ("similarity", "similarity + speech"))
    assert mean_over_enrolments(with_speech.by_speaker) < mean_over_enrolments(plain.by_speaker) - 0.01
    assert with_speech.objective > plain.objective
    assert "speech" not in choice.terms


def test_durations_are_left_out_where_they_say_nothing() -> None:
    rng = np.random.default_rng(0)
    blind = {
        seconds: replace(trials, speech_s=rng.permutation(trials.speech_s))
        for seconds, trials in {SINGLE: known_trials(1, 1500, 3000), 4.0: known_trials(2, 1500, 3000)}.items()
    }
    assert choose(Evidence(["set"], blind, 4.0)).terms == SIMILARITY_ONLY


def test_trials_the_wrong_way_round_are_refused() -> None:
    trials = known_trials(1, 300, 300)
    wrong = replace(trials, similarity=-trials.similarity)
    with pytest.raises(ValueError, match="target trials are not more alike"):
        choose(Evidence(["set"], {SINGLE: wrong, 4.0: wrong}, 4.0))


def source(name: str, speaker: str, split: str) -> Source:
    return Source(name, speaker, Path(name), "set", split)


def test_speakers_that_were_trained_on_or_would_leak_are_refused() -> None:
    one = Trials(np.array([1, 0]), ["a1", "a1"], ["a2", "b1"])
    two = Trials(np.array([1, 0]), ["c1", "c1"], ["c2", "b1"])
    speakers = {"a1": "a", "a2": "a", "b1": "b", "c1": "c", "c2": "c"}
    dev = [source(name, who, "dev") for name, who in speakers.items()]
    check_speakers({"one": one, "two": two}, dev, [])
    with pytest.raises(ValueError, match="'b' is in a set that is left out and in another"):
        check_speakers({"one": one, "two": two}, dev, ["two"])
    with pytest.raises(ValueError, match="no trial list is called 'three'"):
        check_speakers({"one": one}, dev, ["three"])
    with pytest.raises(ValueError, match="no trial list is left"):
        check_speakers({"one": one}, dev, ["one"])
    mixed = [source(name, who, "train" if who == "a" else "dev") for name, who in speakers.items()]
    with pytest.raises(ValueError, match="1 speakers of the trials were trained on"):
        check_speakers({"one": one}, mixed, [])
    # A corpus without a split says "train" of everybody, and nothing can be told from it.
    check_speakers({"one": one}, [source(name, who, "train") for name, who in speakers.items()], [])


@pytest.fixture(scope="module")
def strangers(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature corpus without its split, with trials of all its speakers."""
    root = tmp_path_factory.mktemp("strangers")
    sources = read_sources(miniature / "utterances.csv")
    with (root / "utterances.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["utterance_id", "speaker_id", "path", "set"])
        table.writerows([s.utterance_id, s.speaker_id, str(s.path), s.set_name] for s in sources)
    (root / "trials").mkdir()
    columns = zip(*((s.utterance_id, s.speaker_id, s.set_name) for s in sources), strict=True)
    names, speakers, sets = columns
    for name, trials in draw_trials(names, speakers, sets, most=200).items():
        rows = zip(trials.labels, trials.enroll, trials.test, strict=True)
        (root / f"trials/{name}.txt").write_text("\n".join(" ".join(map(str, row)) for row in rows))
    return root


def test_the_program_writes_a_calibration_tables_and_plots(
    strangers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = write_tiny_model(tmp_path / "tiny"), tmp_path / "out"
    arguments = ["--model", str(model), "--corpus", str(strangers / "utterances.csv"), "--threads", "1"]
    arguments += ["--trials", str(strangers / "trials"), "--enroll-speech", "2", "--out", str(out)]
    assert main(arguments) == 0
    calibration = load_calibration(model / "calibration.json")
    assert calibration.model_sha256 == json.loads((model / "manifest.json").read_text())["files"][0]["sha256"]
    assert calibration.speakers == 8
    assert calibration.target_trials == 48
    assert calibration.impostor_trials == 192
    assert calibration.at_fmr(0.05).threshold > calibration.at_fmr(0.1).threshold
    text = (out / "table.md").read_text()
    for words in ("| set0 |", "| set1 |", "| **mean** |", "best of the references", "single recordings"):
        assert words in text
    assert text in capsys.readouterr().out
    for name in ("reliability.png", "det.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_a_refusal_is_one_line_and_leaves_the_model_as_it_was(
    strangers: Path, miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_model(tmp_path / "tiny")
    before = (model / "calibration.json").read_bytes()
    arguments = ["--model", str(model), "--corpus", str(strangers / "utterances.csv"), "--out", str(tmp_path)]
    assert main([*arguments, "--trials", str(strangers / "trials"), "--enroll-speech", "60"]) == 2
    assert "against 60 s of enrolled speech" in capsys.readouterr().err
    assert main([*arguments, "--trials", str(tmp_path)]) == 2
    assert "no trial list is left to fit on" in capsys.readouterr().err
    assert (model / "calibration.json").read_bytes() == before
