"""What `training.calibrate` found, as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from training.choosing import SINGLE, Choice, Costs, mean_over_enrolments


def tables(
    model_id: str,
    content: Mapping[str, Any],
    rows: Mapping[str, Mapping[str, float]],
    fitted: Sequence[str],
    choice: Choice,
    scorings: Mapping[float, Mapping[str, Mapping[str, float]]],
) -> str:
    """All tables.

    Args:
        model_id: The model.
        content: Of calibration.json.
        rows: Costs by set, and `mean`.
        fitted: Sets that were fitted on.
        choice: What was chosen, and the costs beside it.
        scorings: EER, minDCF and Cllr by required speech and way to score against several takes.
    """
    summary = (
        f"# Calibration of `{model_id}`\n\n{content['source']}: {content['trials']['target']:,} target and "
        f"{content['trials']['impostor']:,} impostor trials of {content['trials']['speakers']} speakers. "
        f"All sets under one threshold: EER {100 * content['eer']:.2f} %, Cllr {content['cllr']:.3f} bits, "
        f"minCllr {content['min_cllr']:.3f}.\nFitted on: {choice.mix}. Terms: {', '.join(choice.terms)}."
    )
    parts = [
        summary,
        _by_set(rows, fitted),
        _points(content["operating_points"]),
        _costs("terms", choice.by_terms),
        _costs("fitted on", choice.by_mix),
        _costs("prior of the fit", choice.by_prior),
        _costs("beside the chosen terms", choice.by_extra),
        _scorings(scorings),
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _by_set(rows: Mapping[str, Mapping[str, float]], fitted: Sequence[str]) -> str:
    columns = {
        "Cllr before": "cllr_before",
        "Cllr": "cllr_after",
        "minCllr before": "min_cllr_before",
        "minCllr": "min_cllr_after",
        "actDCF before": "act_dcf_before",
        "actDCF": "act_dcf_after",
        "minDCF before": "min_dcf_before",
        "minDCF": "min_dcf_after",
        "Cllr before, set unseen": "cllr_unseen_before",
        "Cllr, set unseen": "cllr_unseen",
        "actDCF before, set unseen": "act_dcf_unseen_before",
        "actDCF, set unseen": "act_dcf_unseen",
    }
    columns = {head: key for head, key in columns.items() if key in rows["mean"]}
    body = []
    for name, row in rows.items():
        words = f"**{name}**" if name == "mean" else name if name in fitted else f"{name} (not fitted on)"
        trials = "" if name == "mean" else f"{row['target_trials']:,}, {row['impostor_trials']:,}"
        body.append([words, trials, *(f"{row[key]:.3f}" for key in columns.values())])
    words = (
        "*Before*: a line on the similarity alone, fitted on such trials and no others; beside it the "
        "chosen\nterms. Both are scored by fits without the trial's speakers, and *set unseen* by fits "
        "without the set.\nCllr in bits; DCF normalised, p_target 0.01, both costs 1. The mean is of the "
        "sets that were fitted on."
    )
    return f"{_table(['set', 'trials: same, other', *columns], body)}\n\n{words}"


def _points(points: Sequence[Mapping[str, Any]]) -> str:
    body = [
        [
            f"{100 * p['fmr']:g}",
            f"{p['threshold']:.2f}",
            _percents(p["fmr_interval"]),
            f"{100 * p['fnmr']:.1f}",
            _percents(p["fnmr_interval"]),
        ]
        for p in points
    ]
    return _table(["FMR %", "threshold", "95 %", "FNMR %", "95 %"], body)


def _percents(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.2g}–{100 * interval[1]:.2g}"


def _costs(head: str, rows: Mapping[str, Costs | None]) -> str:
    held = next(costs for costs in rows.values() if costs is not None)
    names = ["single recordings" if s == SINGLE else f"≥ {s:g} s" for s in held.by_speaker]
    body = []
    for words, costs in rows.items():
        if costs is None:
            body.append([f"{words}: falls with the similarity", *[""] * (len(names) + 2)])
            continue
        shown = costs.by_speaker if costs.by_set is None else costs.by_set
        cells = [*shown.values(), costs.objective, mean_over_enrolments(costs.by_speaker)]
        body.append([words, *(f"{cell:.4f}" for cell in cells)])
    kind = "speakers" if held.by_set is None else "sets"
    heads = [
        f"Cllr, unseen {kind}: {names[0]}",
        *names[1:],
        "mean over enrollments",
        "the same, unseen speakers",
    ]
    return _table([head, *heads], body)


def _scorings(scorings: Mapping[float, Mapping[str, Mapping[str, float]]]) -> str:
    body = [
        [f"≥ {seconds:g} s", words, f"{100 * row['eer']:.2f}", f"{row['min_dcf']:.3f}", f"{row['cllr']:.4f}"]
        for seconds, ways in scorings.items()
        for words, row in ways.items()
    ]
    return _table(
        ["enrollment", "similarity", "EER %, mean over all sets", "minDCF", "Cllr, fitted sets"], body
    )
