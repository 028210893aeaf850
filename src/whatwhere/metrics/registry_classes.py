"""What the further numbers of whole pictures mean; `registry` puts them into its table."""

from __future__ import annotations

from whatwhere.metrics.definition import Metric

_SKLEARN = "scikit-learn user guide, Classification metrics"
_RANKING = "scikit-learn user guide, Multilabel ranking metrics"
_SETS = "Tsoumakas, Katakis and Vlahavas, Mining Multi-label Data, 2010"
_ROC = "Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 2006"
_GUO = "Guo et al., On Calibration of Modern Neural Networks, ICML 2017"
_MASS = "Nguyen and O'Connor, Posterior calibration and exploratory analysis, EMNLP 2015"
_KULL = "Kull et al., Beyond temperature scaling, NeurIPS 2019"
_BRIER = "Brier, Verification of Forecasts Expressed in Terms of Probability, 1950"
_BINS = "Gap between score and share right, 15 bins of equal width, weighted by count"

BOXES = (
    Metric(
        "d_ece",
        "Gap between score and precision at IoU 0.5 of boxes of score 0.3 or more, over 20 bins of"
        " the score, weighted by boxes.",
        "Kueppers et al., Multivariate Confidence Calibration for Object Detection, CVPRW 2020",
        True,
    ),
)

_AVERAGES = (
    Metric("precision_micro", "Share of all answers that are right.", _SKLEARN),
    Metric("recall_micro", "Share of all labels that are found.", _SKLEARN),
    Metric("f1_micro", "Harmonic mean of the two, all classes together.", _SKLEARN),
    Metric("precision_weighted", "Mean precision, classes weighted by pictures.", _SKLEARN),
    Metric("recall_weighted", "Mean recall, classes weighted by pictures.", _SKLEARN),
    Metric("f1_weighted", "Mean F1, classes weighted by pictures.", _SKLEARN),
    Metric("roc_auc", "Area under the ROC curve of a class; mean over classes.", _ROC),
    Metric("roc_auc_micro", "The same, all pairs of picture and class together.", _ROC),
)

CLASSIFY = (
    Metric(
        "balanced_accuracy",
        "Mean over classes of the share of their pictures that are right.",
        "Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010",
    ),
    *_AVERAGES,
    Metric(
        "kappa",
        "Agreement beyond chance, -1 to 1.",
        "Cohen, A coefficient of agreement for nominal scales, 1960",
    ),
    Metric(
        "mcc",
        "Correlation of answer and truth for many classes, -1 to 1.",
        "Gorodkin, Comparing two K-category assignments, 2004",
    ),
    Metric("AP_macro", "Area under precision over recall, class against rest; mean.", _SKLEARN),
    Metric("AP_micro", "The same, all pairs of picture and class together.", _SKLEARN),
    Metric("log_loss", "Mean -log of the right class's score, in nats.", _SKLEARN, True),
    Metric("brier", "Mean squared distance from the truth, 0 to 2.", _BRIER, True),
    Metric("ece", f"{_BINS}; of the best class.", _GUO, True),
    Metric("ece_adaptive", "The same with bins of equal count.", _MASS, True),
    Metric("ece_classwise", f"{_BINS}; of each class, mean over classes.", _KULL, True),
    Metric("mce", "The largest such gap of the best class.", _GUO, True),
)

MULTILABEL = (
    Metric("AP_micro", "Average precision, all pairs of picture and class together.", _SKLEARN),
    Metric("AP_weighted", "Mean AP, classes weighted by pictures.", _SKLEARN),
    *_AVERAGES,
    Metric("f1_samples", "Mean over pictures of the F1 of their sets of labels.", _SETS),
    Metric("f1_best", "Mean F1 with each class's best threshold on these pictures.", _SKLEARN),
    Metric("f1_tuned", "The same with thresholds chosen on other pictures, 5 folds.", _SKLEARN),
    Metric("subset_accuracy", "Share of pictures whose labels are all right.", _SETS),
    Metric("hamming_loss", "Share of pairs of picture and class that are wrong.", _SETS, True),
    Metric(
        "coverage_error",
        "How many classes down the ranking all labels are found, 1 or more.",
        _RANKING,
        True,
    ),
    Metric(
        "ranking_loss",
        "Share of pairs of a shown and an absent class out of order.",
        _RANKING,
        True,
    ),
    Metric("lrap", "Mean over labels of the precision of the ranking down to them.", _RANKING),
    Metric("log_loss", "Mean -log of what is given to the truth, in nats.", _SKLEARN, True),
    Metric("brier", "Mean squared distance from the truth, 0 to 1.", _BRIER, True),
    Metric("ece", f"{_BINS}; of all pairs.", _GUO, True),
    Metric("ece_adaptive", "The same with bins of equal count.", _MASS, True),
    Metric("ece_classwise", f"{_BINS}; of each class, mean over classes.", _KULL, True),
)
