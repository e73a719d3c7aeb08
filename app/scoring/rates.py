"""Error rates of trials: scores that rise with likeness, and labels, 1 for one speaker → figures.

scikit-learn is imported where it is called: a service that fits nothing need not wait for it.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RULE_OF_THREE: Final = 3.0
"""No error in n trials still leaves a rate of up to 3/n at 95 % confidence: below it nothing can be said."""


def error_rates(
    scores: Floats, labels: npt.NDArray[np.int64], weights: Floats | None = None
) -> tuple[Floats, Floats, Floats]:
    """The DET curve: (fmr, fnmr, thresholds) for `accept when score >= threshold`, thresholds rising.

    Trials may weigh differently inside their kind; alike when `weights` is None.
    """
    from sklearn.metrics import det_curve

    fmr, fnmr, thresholds = det_curve(labels, scores, sample_weight=weights)
    order = np.argsort(thresholds, kind="stable")
    return fmr[order], fnmr[order], thresholds[order]


def equal_error_rate(scores: Floats, labels: npt.NDArray[np.int64], weights: Floats | None = None) -> float:
    """The rate at which FMR and FNMR meet, in [0, 1], interpolated between the two nearest points."""
    fmr, fnmr, _ = error_rates(scores, labels, weights)
    fmr, fnmr = np.append(fmr, 0.0), np.append(fnmr, 1.0)
    gap = fnmr - fmr
    i = int(np.argmax(gap >= 0))
    if i == 0:
        return float((fmr[0] + fnmr[0]) / 2)
    share = -gap[i - 1] / (gap[i] - gap[i - 1])
    return float(fmr[i - 1] + share * (fmr[i] - fmr[i - 1]))


def cllr(llr: Floats, labels: npt.NDArray[np.int64], weights: Floats | None = None) -> float:
    """Cost of log-likelihood ratios (natural log) over all applications, in bits.

    0 is knowledge, 1 what answering 0 always costs; nothing bounds it above.

    Args:
        llr: Log-likelihood ratios.
        labels: 1 = target.
        weights: Of each trial inside its kind; alike when None.

    Source: N. Brümmer and J. du Preez, "Application-independent evaluation of speaker detection",
        Computer Speech and Language 20, 2006.
    """
    cost = cllr_costs(llr, labels)
    shares = np.ones(len(llr)) if weights is None else weights
    kinds = [labels == 1, labels == 0]
    return float(np.mean([np.average(cost[kind], weights=shares[kind]) for kind in kinds]))


def cllr_costs(llr: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    """What each trial costs in bits; `cllr` is the mean over targets and over impostors, halved."""
    return np.asarray(np.logaddexp(0.0, np.where(labels == 1, -llr, llr)) / np.log(2))


def min_cllr(scores: Floats, labels: npt.NDArray[np.int64], weights: Floats | None = None) -> float:
    """Cllr after the best rising map from score to log-likelihood ratio (pool adjacent violators), in bits.

    What of Cllr is not calibration but discrimination; arguments as of `cllr`.
    """
    from sklearn.isotonic import IsotonicRegression

    shares = np.ones(len(scores)) if weights is None else weights
    totals = [shares[labels == 0].sum(), shares[labels == 1].sum()]
    even = shares / np.array(totals)[labels]  # both kinds weigh 1, so the odds are the likelihood ratio
    posterior = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(scores, labels, sample_weight=even)
    with np.errstate(divide="ignore"):
        llr = np.log(posterior) - np.log1p(-posterior)
    return cllr(llr, labels, weights)
