"""What every number means: one entry a metric, with its definition and source."""

from __future__ import annotations

from dataclasses import dataclass

from whatwhere.types import Task

_COCO = "COCO detection evaluation, https://cocodataset.org/#detection-eval"
_VOC = "Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010"
_SKLEARN = "scikit-learn user guide, Classification metrics"
_IMAGENET = "Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015"


@dataclass(frozen=True, slots=True)
class Metric:
    """A number in 0..1, larger is better.

    Args:
        name: its standard name, the key in results.
        definition: one sentence.
        source: the paper or specification that defines it.
    """

    name: str
    definition: str
    source: str


_AP = "Mean over classes and 101 recall levels of the best precision at that recall or above"
_AR = "Mean over classes and IoU thresholds 0.50 to 0.95 of the recall"

METRICS: dict[Task, tuple[Metric, ...]] = {
    "classify": (
        Metric("accuracy", "Share of pictures whose best class is right.", _IMAGENET),
        Metric("top5", "Share of pictures whose right class is among the best five.", _IMAGENET),
        Metric(
            "precision",
            "Of the pictures given a class, the share that are of it; mean over classes.",
            _SKLEARN,
        ),
        Metric(
            "recall",
            "Of the pictures of a class, the share given it; mean over classes.",
            _SKLEARN,
        ),
        Metric("f1", "Harmonic mean of precision and recall; mean over classes.", _SKLEARN),
    ),
    "multilabel": (
        Metric(
            "mAP",
            "Area under the uninterpolated precision-recall steps of a class; mean over classes.",
            _SKLEARN + "; " + _VOC,
        ),
        Metric("precision", "Precision at score 0.5; mean over classes.", _SKLEARN),
        Metric("recall", "Recall at score 0.5; mean over classes.", _SKLEARN),
        Metric("f1", "F1 at score 0.5; mean over classes.", _SKLEARN),
    ),
    "detect": (
        Metric("AP", f"{_AP}, averaged over IoU thresholds 0.50 to 0.95.", _COCO),
        Metric("AP50", f"{_AP}, at IoU 0.5.", f"{_COCO}; {_VOC}"),
        Metric("AP75", f"{_AP}, at IoU 0.75.", _COCO),
        Metric("APs", "AP of objects below 32 x 32 square pixels.", _COCO),
        Metric("APm", "AP of objects of 32 x 32 to 96 x 96 square pixels.", _COCO),
        Metric("APl", "AP of objects above 96 x 96 square pixels.", _COCO),
        Metric("AR1", f"{_AR} with the best box a picture and class.", _COCO),
        Metric("AR10", f"{_AR} with the best 10 boxes a picture and class.", _COCO),
        Metric("AR100", f"{_AR} with the best 100 boxes a picture and class.", _COCO),
        Metric("ARs", "AR100 of objects below 32 x 32 square pixels.", _COCO),
        Metric("ARm", "AR100 of objects of 32 x 32 to 96 x 96 square pixels.", _COCO),
        Metric("ARl", "AR100 of objects above 96 x 96 square pixels.", _COCO),
    ),
}
"""The metrics of each task, in the order in which they are shown."""

PRIMARY: dict[Task, str] = {"classify": "accuracy", "multilabel": "mAP", "detect": "AP"}
"""The one number by which models of a task are compared."""
