"""Which program is asked for which format, and why it differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _foreign_boxes as boxes
import _foreign_geo as geo
import _foreign_kits as kits
import _foreign_labelformat as labelformat
import _foreign_tables as tables
from _foreign_common import Reader, Writer
from _foreign_facts import stem


@dataclass(frozen=True)
class Case:
    """A format and a program that knows it.

    reads, writes: how it is asked, see `_foreign_common`. task: which sample. one_split: the
    only split, "" for none, where it has no splits or one at a time. flags: what it writes.
    note: why a difference is there, by the format's own specification. size: of every picture.
    key: what a picture is called. classes: names that the format wants. ignored: splits that
    the program does not read. parts: what it calls train and test.
    """

    format: str
    package: str
    reads: Reader | None = None
    writes: Writer | None = None
    task: str = "detect"
    one_split: str | None = None
    flags: tuple[str, ...] = ()
    note: str = ""
    size: tuple[int, int] | None = None
    key: Callable[[str], str] = stem
    classes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


def _frame(path: str) -> str:
    place = Path(path)
    return f"{place.parent.parent.name}/{place.stem}"


def _both(name: str, format: str, **more: Any) -> Case:
    """supervision, globox and labelformat have both directions under one name."""
    one_split = {"one_split": ""}
    module = labelformat if name == "labelformat" else boxes
    reads = getattr(module, f"{name}_reader")(format)
    writes = getattr(module, f"{name}_writer")(format)
    return Case(format, name, reads, writes, **(one_split | more))


_FOUND = ("difficult", "truncated", "occluded")
_BLANKS = (
    "lines of {} have no room for blanks in names: ours get another sign and stand whole in"
    " classes.txt, which {} does not know"
)
_NO_EMPTY = "the table has no row for a picture without boxes"
_ONE_PIXEL = (
    "VOC counts pixels from 1; {} takes the numbers as they are, in both directions; what VOC"
    " leaves out of scoring is difficult"
)


def cases() -> list[Case]:
    read_dm, write_dm = boxes.datumaro_reader, boxes.datumaro_writer
    mot = ("pedestrian", "car", "static_person")
    road = ("car", "person", "rider")
    return [
        Case("coco", "pycocotools", kits.pycocotools_reader),
        Case("coco", "lvis", kits.lvis_reader),
        Case(
            "coco",
            "datumaro",
            read_dm("coco"),
            write_dm("coco_instances"),
            flags=_FOUND,
            note="COCO has no such flags; Datumaro puts them into its attributes, where they stay",
        ),
        _both("supervision", "coco"),
        _both("globox", "coco"),
        _both("labelformat", "coco"),
        Case("coco", "pylabel", labelformat.pylabel_reader("coco"), one_split=""),
        Case(
            "voc",
            "datumaro",
            read_dm("voc_detection", skip="trainval"),
            write_dm("voc_detection"),
            flags=_FOUND,
            note=_ONE_PIXEL.format("Datumaro"),
        ),
        Case(
            "voc",
            "torchvision",
            kits.torchvision_voc,
            ignored=("test",),
            note="torchvision hands the file's numbers on, which count from 1; what VOC leaves out"
            " of scoring is difficult",
        ),
        _both("supervision", "voc", note="supervision writes whole numbers"),
        _both("globox", "voc", note=_ONE_PIXEL.format("globox")),
        _both(
            "labelformat",
            "voc",
            note=_ONE_PIXEL.format("labelformat") + "; names with commas cannot be named to it",
        ),
        Case(
            "voc",
            "pylabel",
            labelformat.pylabel_reader("voc"),
            one_split="",
            note=_ONE_PIXEL.format("PyLabel") + "; it passes files without objects over",
        ),
        Case("yolo", "datumaro", read_dm("yolo"), write_dm("yolo_ultralytics")),
        Case("yolo", "datumaro", None, write_dm("yolo")),
        _both("supervision", "yolo"),
        _both("globox", "yolo"),
        _both("labelformat", "yolo", one_split="train"),
        _both("globox", "text_boxes", note="globox refuses blanks in names"),
        Case("cvat", "datumaro", read_dm("cvat"), write_dm("cvat"), flags=("occluded",)),
        _both("globox", "cvat"),
        _both(
            "labelformat",
            "cvat",
            note="labelformat reads no file with an XML declaration, which CVAT's own have",
        ),
        Case("labelme", "labelme", tables.labelme_reader, tables.labelme_writer, one_split=""),
        _both("supervision", "labelme"),
        _both("globox", "labelme"),
        Case(
            "label_studio",
            "label-studio-sdk",
            tables.label_studio_reader,
            tables.label_studio_writer,
            one_split="",
            note="addresses of local files are percent-encoded; the converter leaves them so",
        ),
        Case("datumaro", "datumaro", read_dm("datumaro"), write_dm("datumaro"), flags=_FOUND),
        Case("datumaro", "datumaro", read_dm("datumaro"), write_dm("datumaro"), task="classify"),
        _both("supervision", "createml"),
        Case(
            "createml",
            "datumaro",
            read_dm("roboflow_create_ml"),
            one_split="train",
            note="Apple's x and y are the box's middle; Datumaro takes them for its corner",
        ),
        Case(
            "open_images",
            "datumaro",
            read_dm("open_images", prepare=boxes.open_images_layout),
            write_dm("open_images"),
            flags=("truncated", "occluded"),
        ),
        Case(
            "open_images",
            "globox",
            None,
            boxes.globox_writer("open_images"),
            one_split="",
            note="globox refuses a comma in a name, though CSV has quotes for it",
        ),
        Case(
            "kitti",
            "torchvision",
            kits.torchvision_kitti,
            ignored=("test",),
            note=_BLANKS.format("KITTI", "torchvision"),
        ),
        Case(
            "kitti",
            "datumaro",
            read_dm("kitti_detection"),
            write_dm("kitti_detection"),
            one_split="train",
            note=_BLANKS.format("KITTI", "Datumaro") + "; its own blanks break the line",
            flags=("truncated", "occluded"),
        ),
        _both(
            "labelformat",
            "kitti",
            one_split="train",
            note=_BLANKS.format("KITTI", "labelformat") + "; its own blanks break the line",
        ),
        Case(
            "cityscapes",
            "cityscapesscripts",
            kits.cityscapes_reader,
            kits.cityscapes_writer,
            classes=road,
        ),
        Case(
            "dota",
            "dotadevkit",
            kits.dota_reader,
            note=_BLANKS.format("DOTA", "the kit"),
        ),
        Case(
            "dota",
            "datumaro",
            read_dm("dota"),
            write_dm("dota", turned=True),
            one_split="train",
            note=_BLANKS.format("DOTA", "Datumaro"),
            flags=("difficult",),
        ),
        Case(
            "mot",
            "trackeval",
            kits.trackeval_reader,
            one_split="",
            key=_frame,
            classes=mot,
            size=(64, 48),
            note="the kit keeps the 1 from which the format counts",
        ),
        Case(
            "mot",
            "motmetrics",
            kits.motmetrics_reader,
            one_split="",
            key=_frame,
            classes=mot,
            size=(64, 48),
            note="it lists no frames without boxes",
        ),
        Case(
            "mot",
            "datumaro",
            read_dm("mot_seq"),
            write_dm("mot_seq_gt"),
            one_split="",
            note="Datumaro wants exactly seven keys in seqinfo.ini, a frame rate among them; it"
            " writes coordinates from 0, where the format counts from 1",
            classes=mot,
            size=(64, 48),
        ),
        Case("tfrecord", "tfrecord", tables.tfrecord_reader, tables.tfrecord_writer),
        Case("folders", "torchvision", kits.torchvision_folders, task="classify"),
        Case(
            "folders",
            "supervision",
            boxes.supervision_folders_reader,
            boxes.supervision_folders_writer,
            "classify",
        ),
        Case(
            "folders",
            "datumaro",
            read_dm("imagenet_with_subset_dirs"),
            write_dm("imagenet_with_subset_dirs"),
            "classify",
        ),
        Case("hf_imagefolder", "datasets", tables.hf_imagefolder_reader, tables.hf_parquet_writer),
        Case("hf_imagefolder", "datasets", tables.hf_imagefolder_reader, task="classify"),
        Case(
            "webdataset",
            "webdataset",
            tables.webdataset_reader,
            tables.webdataset_writer,
            "classify",
        ),
        Case("webdataset", "webdataset", tables.webdataset_reader),
        Case("mnist", "torchvision", kits.torchvision_mnist, task="classify", size=(28, 28)),
        Case(
            "mnist",
            "idx2numpy",
            tables.idx2numpy_reader,
            tables.idx2numpy_writer,
            "classify",
            size=(28, 28),
        ),
        Case(
            "imagenet_val",
            "datumaro",
            None,
            write_dm("imagenet_txt"),
            "classify",
            note="Datumaro puts names with blanks between quotes, which Caffe's lists have not",
        ),
        Case(
            "cifar",
            "datumaro",
            None,
            write_dm("cifar"),
            "classify",
            size=(32, 32),
            parts=("data_batch_1", "test_batch"),
            note="CIFAR's batches have uint8 pixels; Datumaro pickles an array of objects",
        ),
        Case("parquet", "pandas", tables.parquet_reader),
        Case(
            "geo",
            "geopandas",
            geo.geopandas_reader,
            geo.geopandas_writer,
            one_split="",
            note=_NO_EMPTY,
        ),
        Case(
            "csv_boxes",
            "pandas",
            tables.pandas_reader,
            tables.pandas_writer,
            note=_NO_EMPTY,
        ),
        Case("csv_labels", "pandas", tables.pandas_reader, tables.pandas_writer, "classify"),
    ]
