import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.scoring import ScoreModel, load_calibration
from tests.tiny import write_tiny_model
from tests.training.known import TERMS, known_trials
from training.calibrate import check_speakers, main
from training.choosing import SINGLE, Evidence, choose, mean_over_enrolments
from training.corpus import Source, read_sources
from training.fitting import SIMILARITY_ONLY, Examples
from training.metrics import Trials, draw_trials, error_rates
from training.operating import Scored, calibration_content, operating_points


def scored(targets: int, impostors: int, shift: float = 0.0, seed: int = 0, voices: int = 20) -> Scored:
    rng = np.random.default_rng(seed)
    llr = np.concatenate([rng.normal(2 + shift, 2, targets), rng.normal(shift - 2, 2, impostors)])
    enroll = rng.integers(0, voices, targets + impostors)
    test = np.concatenate(
        [enroll[:targets], (enroll[targets:] + rng.integers(1, voices, impostors)) % voices]
    )
    names = np.array([f"{seed}-{i}" for i in range(voices)])
    return Scored(llr, np.repeat([1, 0], [targets, impostors]), names[enroll], names[test])


SETS = {"large": scored(500, 5000), "small": scored(50, 400, shift=2.0, seed=1)}


def test_operating_points_count_every_set_alike_and_keep_their_rate() -> None:
    points = operating_points(SETS)
    assert [p["fmr"] for p in points] == [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1]
    for point in points:
        per_set = [np.mean(s.llr[s.labels == 0] >= point["threshold"]) for s in SETS.values()]
        assert np.mean(per_set) == pytest.approx(point["measured_fmr"])
        assert np.mean(per_set) <= point["fmr"] + 1e-9
        missed = [np.mean(s.llr[s.labels == 1] < point["threshold"]) for s in SETS.values()]
        assert point["fnmr"] == pytest.approx(np.mean(missed))
        for rate in ("fmr", "fnmr"):
            low, high = point[f"{rate}_interval"]
            assert low <= point["measured_fmr" if rate == "fmr" else "fnmr"] <= high
            assert high - low < 0.2
    pooled = np.concatenate([s.llr[s.labels == 0] for s in SETS.values()])
    five = next(p for p in points if p["fmr"] == 0.05)
    # The small set's impostors score higher; pooled by trial, they would hardly count.
    assert np.mean(pooled >= five["threshold"]) < 0.03


def test_no_rate_is_promised_that_the_trials_cannot_support() -> None:
    assert [p["fmr"] for p in operating_points({"few": scored(20, 100)})] == [0.05, 0.1]
    with pytest.raises(ValueError, match="29 impostor trials support no false-match rate"):
        operating_points({"fewer": scored(20, 29)})


def test_what_is_written_can_be_read_and_says_what_was_measured(tmp_path: Path) -> None:
    content = calibration_content(ScoreModel(-1.0, 9.0, speech=0.5), SETS, "ab" * 32, "two sets")
    (tmp_path / "calibration.json").write_text(json.dumps(content))
    calibration = load_calibration(tmp_path / "calibration.json")
    assert calibration.score == ScoreModel(-1.0, 9.0, speech=0.5)
    assert (calibration.target_trials, calibration.impostor_trials, calibration.speakers) == (550, 5400, 40)
    assert 0 < calibration.min_cllr <= calibration.cllr
    det = content["det"]
    assert 50 < len(det["threshold"]) <= 200
    assert det["threshold"] == sorted(det["threshold"])
    for threshold, fmr, fnmr in zip(*(det[key] for key in ("threshold", "fmr", "fnmr")), strict=True):
        rates = [
            (np.mean(s.llr[s.labels == 0] >= threshold), np.mean(s.llr[s.labels == 1] < threshold))
            for s in SETS.values()
        ]
        assert np.mean(rates, axis=0) == pytest.approx([fmr, fnmr], abs=0.015)
    gap = np.abs(np.array(det["fmr"]) - det["fnmr"])
    assert content["eer"] == pytest.approx(det["fmr"][int(gap.argmin())], abs=0.02)


def test_one_set_has_its_own_det() -> None:
    one = SETS["large"]
    det = calibration_content(ScoreModel(0.0, 1.0), {"large": one}, "ab" * 32, "one")["det"]
    fmr, fnmr, thresholds = error_rates(one.llr, one.labels)
    places = np.searchsorted(thresholds, np.array(det["threshold"]) - 1e-5)
    np.testing.assert_allclose(det["fmr"], fmr[places], atol=1e-6)
    np.testing.assert_allclose(det["fnmr"], fnmr[places], atol=1e-6)


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
        rows = csv.writer(file)
        rows.writerow(["utterance_id", "speaker_id", "path", "set"])
        rows.writerows([s.utterance_id, s.speaker_id, str(s.path), s.set_name] for s in sources)
    (root / "trials").mkdir()
    columns = [(s.utterance_id, s.speaker_id, s.set_name) for s in sources]
    for name, trials in draw_trials(*zip(*columns, strict=True), most=200).items():
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
