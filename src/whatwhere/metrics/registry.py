"""What every number means: one entry a metric, with its definition and source."""

from __future__ import annotations

from whatwhere.metrics.definition import Metric
from whatwhere.metrics.registry_classes import BOXES, CLASSIFY, MULTILABEL
from whatwhere.types import Task

__all__ = ["FURTHER", "METRICS", "PRIMARY", "Metric"]

_COCO = "COCO detection evaluation, https://cocodataset.org/#detection-eval"
_VOC = "Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010"
_SKLEARN = "scikit-learn user guide, Classification metrics"
_VOC_KIT = "Everingham and Winn, PASCAL VOC2012 Development Kit, VOCevaldet.m"
_KITTI = (
    "Geiger et al., Are we ready for Autonomous Driving?, CVPR 2012; 40 recall levels as in"
    " Simonelli et al., ICCV 2019"
)
_LVIS = "Gupta et al., LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019"
_OPEN_IMAGES = (
    "Open Images Challenge, object detection track,"
    " https://storage.googleapis.com/openimages/web/evaluation.html"
)
_TIDE = "Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020"
_CALTECH = "Dollar et al., Pedestrian Detection: An Evaluation of the State of the Art, PAMI 2012"
_IMAGENET = "Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015"

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

_KITTI_AP = "AP over 40 recall levels at KITTI's own IoU (car 0.7, others 0.5); mean over classes"
_LVIS_AP = f"{_AP}, averaged over IoU thresholds 0.50 to 0.95, best 300 boxes a picture"
_TIDE_GAIN = "What AP50 would gain if no predicted box"

FURTHER: dict[Task, tuple[Metric, ...]] = {
    "classify": CLASSIFY,
    "multilabel": MULTILABEL,
    "detect": (
        Metric(
            "voc_AP50",
            "Area under the best precision at each recall or above, IoU 0.5; mean over classes.",
            _VOC_KIT,
        ),
        Metric(
            "voc_AP50_11",
            "Mean of the best precision at recall 0, 0.1, … 1 or above, IoU 0.5; over classes.",
            f"{_VOC} (until 2009)",
        ),
        Metric("kitti_easy", f"{_KITTI_AP}; at least 40 pixels high, fully visible.", _KITTI),
        Metric("kitti_moderate", f"{_KITTI_AP}; 25 pixels high, partly occluded.", _KITTI),
        Metric("kitti_hard", f"{_KITTI_AP}; 25 pixels high, largely occluded.", _KITTI),
        Metric("lvis_AP", f"{_LVIS_AP}.", _LVIS),
        Metric("lvis_AP50", f"{_AP}, at IoU 0.5, best 300 boxes a picture.", _LVIS),
        Metric("lvis_AP75", f"{_AP}, at IoU 0.75, best 300 boxes a picture.", _LVIS),
        Metric("lvis_APs", f"{_LVIS_AP}; objects below 32 x 32 square pixels.", _LVIS),
        Metric("lvis_APm", f"{_LVIS_AP}; objects between 32 x 32 and 96 x 96.", _LVIS),
        Metric("lvis_APl", f"{_LVIS_AP}; objects above 96 x 96 square pixels.", _LVIS),
        Metric("lvis_APr", f"{_LVIS_AP}; rare classes (in 1 to 10 training pictures).", _LVIS),
        Metric("lvis_APc", f"{_LVIS_AP}; common classes (11 to 100).", _LVIS),
        Metric("lvis_APf", f"{_LVIS_AP}; frequent classes (more than 100).", _LVIS),
        Metric("lvis_AR300", f"{_AR} with the best 300 boxes a picture.", _LVIS),
        Metric("lvis_ARs300", "lvis_AR300 of objects below 32 x 32 square pixels.", _LVIS),
        Metric("lvis_ARm300", "lvis_AR300 of objects between 32 x 32 and 96 x 96.", _LVIS),
        Metric("lvis_ARl300", "lvis_AR300 of objects above 96 x 96 square pixels.", _LVIS),
        Metric(
            "open_images_AP50",
            "Area under the best precision at each recall or above, IoU 0.5, a group found by any"
            " box inside it; mean over classes.",
            _OPEN_IMAGES,
        ),
        Metric("tide_class", f"{_TIDE_GAIN} had the wrong class.", _TIDE, True),
        Metric("tide_location", f"{_TIDE_GAIN} of the right class were misplaced.", _TIDE, True),
        Metric("tide_both", f"{_TIDE_GAIN} were wrong in class and place.", _TIDE, True),
        Metric("tide_duplicate", f"{_TIDE_GAIN} found an object twice.", _TIDE, True),
        Metric("tide_background", f"{_TIDE_GAIN} lay on background.", _TIDE, True),
        Metric("tide_missed", "What AP50 would gain if no object were missed.", _TIDE, True),
        Metric("tide_false_positive", "What AP50 would gain at perfect precision.", _TIDE, True),
        Metric("tide_false_negative", "What AP50 would gain at perfect recall.", _TIDE, True),
        Metric(
            "log_average_miss_rate",
            "Geometric mean of the miss rate at nine rates of false positives from 0.01 to 1 a"
            " picture.",
            _CALTECH,
            True,
        ),
        Metric("best_f1", "Largest F1 over all thresholds, all classes together.", _SKLEARN),
        *BOXES,
    ),
}
"""Numbers beside the standard ones: of other protocols, of errors, of thresholds."""

PRIMARY: dict[Task, str] = {"classify": "accuracy", "multilabel": "mAP", "detect": "AP"}
"""The one number by which models of a task are compared."""
