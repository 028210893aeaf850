"""Write Pascal VOC."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import add_sizes, unique_names
from whatwhere.data.formats._pictures import Pictures
from whatwhere.images import write_atomic


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: Annotations/, JPEGImages/, ImageSets/Main/, and CVAT's labelmap.txt."""
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    names = unique_names(dataset.paths)
    there = pictures.place(dataset.paths, [folder / "JPEGImages" / name for name in names])
    splits: dict[str, list[str]] = {}
    for row, (name, image) in enumerate(zip(names, images.iter_rows(named=True), strict=True)):
        if not there[row] or image["width"] is None:
            continue
        stem = Path(name).stem
        text = _annotation_text(dataset, row, name, image, findings)
        write_atomic(folder / "Annotations" / f"{stem}.xml", text)
        if image["split"]:
            splits.setdefault(image["split"], []).append(stem)
    if {"train", "val"} & splits.keys():
        splits["trainval"] = sorted(splits.get("train", []) + splits.get("val", []))
    for split, stems in splits.items():
        lines = "".join(f"{stem}\n" for stem in stems)
        write_atomic(folder / "ImageSets" / "Main" / f"{split}.txt", lines)
    header = "# label:color_rgb:parts:actions\n"
    write_atomic(folder / "labelmap.txt", header + "".join(f"{n}:::\n" for n in dataset.names))
    return findings


def _annotation_text(
    dataset: Dataset, row: int, name: str, image: dict[str, Any], findings: list[Finding]
) -> str:
    start, end = dataset.rows_of(row)
    lines = [
        "<annotation>",
        "\t<folder>JPEGImages</folder>",
        f"\t<filename>{escape(name)}</filename>",
        f"\t<size>\n\t\t<width>{image['width']}</width>\n\t\t<height>{image['height']}</height>"
        "\n\t\t<depth>3</depth>\n\t</size>",
        "\t<segmented>0</segmented>",
    ]
    for label in dataset.labels[start:end].iter_rows(named=True):
        box = [label["x1"] + 1, label["y1"] + 1, label["x2"], label["y2"]]
        if box[2] <= box[0] or box[3] <= box[1]:
            findings.append(
                Finding(
                    "tiny-box",
                    "a box of one pixel or less cannot be told from an error in Pascal VOC",
                    label["record"] or name,
                    "warning",
                    KEPT_OUT,
                    1,
                )
            )
            continue
        sides = "".join(
            f"\n\t\t\t<{side}>{_text(value)}</{side}>"
            for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        lines.append(
            f"\t<object>\n\t\t<name>{escape(dataset.names[label['class_id']])}</name>"
            "\n\t\t<pose>Unspecified</pose>"
            f"\n\t\t<truncated>{int(bool(label['truncated']))}</truncated>"
            f"\n\t\t<difficult>{int(bool(label['ignore']))}</difficult>"
            f"\n\t\t<bndbox>{sides}\n\t\t</bndbox>\n\t</object>"
        )
    return "\n".join([*lines, "</annotation>\n"])


def _text(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")
