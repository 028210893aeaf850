"""Text files with a class and a box a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whatwhere.data import Dataset, read
from whatwhere.data.formats import formats
from whatwhere.errors import DataError, UsageError
from whatwhere.images import write_image

SIZE = (64, 48)


def make(root: Path, files: dict[str, str], pictures: str = "") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for number, (stem, text) in enumerate(files.items()):
        (root / f"{stem}.txt").write_text(text)
        picture = np.full((SIZE[1], SIZE[0], 3), number, np.uint8)
        write_image(root / pictures / f"{stem}.png", picture)
    return root


def found(dataset: Dataset) -> list[tuple[str, str]]:
    return [(finding.kind, finding.where) for finding in dataset.findings]


def encoded(boxes: np.ndarray, order: str) -> np.ndarray:
    """x1 y1 x2 y2 in pixels, as it would be written."""
    if order.startswith("rel-"):
        boxes = boxes / np.tile(SIZE, 2)
    low, high = boxes[:, :2], boxes[:, 2:]
    return {
        "xyxy": boxes,
        "xywh": np.concatenate([low, high - low], axis=1),
        "cxcywh": np.concatenate([(low + high) / 2, high - low], axis=1),
    }[order.removeprefix("rel-")]


def test_the_layout_of_cartucho(tmp_path: Path) -> None:
    make(tmp_path / "ground-truth", {"a": "cat 1 2 30 40\ndog 5 6 20 21 difficult\n", "b": ""})
    make(tmp_path / "detection-results", {"a": "cat 0.25 1 2 31 41\n"})
    (tmp_path / "images-optional").mkdir()
    for stem in "ab":
        picture = tmp_path / "ground-truth" / f"{stem}.png"
        picture.rename(tmp_path / "images-optional" / picture.name)
    dataset = read(tmp_path)
    assert (dataset.format, list(dataset.names)) == ("text_boxes", ["cat", "dog"])
    assert found(dataset) == [("not-read", "detection-results")]
    assert len(dataset) == 2
    boxes = dataset.targets(0).boxes
    np.testing.assert_array_equal(boxes, [[1, 2, 30, 40], [5, 6, 20, 21]])
    assert dataset.labels["ignore"].to_list() == [False, True]
    assert dataset.labels["difficult"].to_list() == [False, True]
    assert dataset.labels["record"].to_list() == ["ground-truth/a.txt:1", "ground-truth/a.txt:2"]
    results = read(tmp_path / "detection-results", images=tmp_path / "images-optional")
    assert results.labels["score"].to_list() == [0.25]
    assert results.labels["source"].to_list() == ["model"]


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("order", ["xyxy", "xywh", "cxcywh", "rel-xyxy", "rel-xywh", "rel-cxcywh"])
def test_the_meaning_is_told_from_the_boxes(order: str, scored: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 40, (60, 2))
    high = np.minimum(low + rng.uniform(2, 40, (60, 2)), SIZE)
    boxes = np.concatenate([low, high], axis=1)
    boxes[0] = [0, 0, *SIZE]
    lines = []
    for row in encoded(boxes, order).tolist():
        score = f"{rng.uniform():.3f} " if scored else ""
        lines.append(f"7 {score}{' '.join(map(repr, row))}\n")
    root = make(tmp_path / "set", {"a": "".join(lines)})
    (root / "voc.names").write_text("".join(f"thing {number}\n" for number in range(9)))
    dataset = read(root)
    assert dataset.findings == ()
    np.testing.assert_allclose(dataset.targets(0).boxes, boxes, atol=1e-4)
    assert dataset.names[int(dataset.labels["class_id"][0])] == "thing 7"
    assert dataset.labels["score"].null_count() == (0 if scored else 60)


def test_what_can_be_read_in_two_ways_is_not_guessed(tmp_path: Path) -> None:
    root = make(tmp_path / "set", {"a": "cat 2 2 10 10\ncat 4 4 20 20\n"})
    with pytest.raises(DataError, match=r"may be xyxy .* xywh .* format='text_boxes:xyxy'"):
        read(root)
    for order, high in (("xyxy", 10), ("xywh", 12)):
        dataset = read(root, format=f"text_boxes:{order}")
        np.testing.assert_array_equal(dataset.targets(0).boxes[0], [2, 2, high, high])
        assert dataset.format == f"text_boxes:{order}"
    with pytest.raises(UsageError, match="text_boxes:rel-cxcywh"):
        read(root, format="text_boxes:yxyx")


def test_yolo_results_without_names_are_not_guessed(tmp_path: Path) -> None:
    line = "0 0.5 0.5 0.25 0.25 0.5\n"
    root = make(tmp_path / "set", {"a": line * 3})
    with pytest.raises(DataError, match="before or behind the box"):
        read(root)
    (root / "classes.txt").write_text("cat\n")
    assert read(root).format == "yolo"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("cat 1 2 3", "bad-box"),
        ("cat 1 2 3 four", "bad-box"),
        ("cat 1 2 3 nan", "bad-box"),
        ("cat 0.5 1 2 3 4", "bad-box"),
        ("cat 9 2 3 20", "inverted-box"),
        ("cat 3 2 3 20", "zero-size-box"),
        ("cat 90 2 95 20", "outside-box"),
    ],
)
def test_bad_lines_are_kept_out(line: str, kind: str, tmp_path: Path) -> None:
    good = "cat 30 2 62 40\n"
    root = make(tmp_path / "set", {"a": f"{good}{line}\n\n{good}"})
    dataset = read(root, format="text_boxes:xyxy")
    assert found(dataset) == [(kind, "a.txt:2")]
    assert (dataset.labels.height, dataset.kept_out) == (2, 1)


def test_confidences_outside_0_to_1(tmp_path: Path) -> None:
    text = "cat 0.5 30 2 62 40\ncat 7 30 2 62 40\ncat 1 30 2 62 40\n"
    dataset = read(make(tmp_path / "set", {"a": text}))
    assert found(dataset) == [("bad-value", "a.txt:2")]
    assert dataset.labels.height == 2


def test_missing_files_and_pictures(tmp_path: Path) -> None:
    root = make(tmp_path / "set", dict.fromkeys("abc", "cat 30 20 62 40\n"))
    (root / "a.png").unlink()
    (root / "c.txt").unlink()
    dataset = read(root)
    assert found(dataset) == [("missing-image", "a.txt"), ("missing-labels", "c.png")]
    assert dataset.relative_paths() == ["a.jpg", "b.png", "c.png"]
    assert dataset.images["width"].to_list() == [None, 64, 64]
    assert dataset.labels["image"].to_list() == [0, 1]
    (root / "b.png").unlink()
    (root / "c.png").unlink()
    with pytest.raises(DataError, match="cannot be told apart"):
        read(root)
    assert found(read(root, "text_boxes:xyxy")) == [("missing-image", "a.txt")]
    fractions = make(tmp_path / "rel", dict.fromkeys("ab", "cat 0.5 0.5 0.9 0.2\n"))
    for stem in "ab":
        (fractions / f"{stem}.png").unlink()
    with pytest.raises(DataError, match="without their sizes"):
        read(fractions)


@pytest.mark.parametrize(
    "text",
    [
        "Car 0.00 0 1.85 387 181 423 203 1.67 1.87 3.69 -16.53 2.39 58.49 1.57\n",
        "1,1,10,20,30,40,1,-1,-1,-1\n",
        "2753 2408 2861 2385 2888 2468 2805 2502 plane 0\n",
        "490\n361\n",
        "cat 1 2 3\n",
        "one two three four five\n",
        "",
    ],
)
def test_other_text_files_are_not_recognised(text: str, tmp_path: Path) -> None:
    make(tmp_path / "set", {"a": text})
    assert formats()["text_boxes"].recognise(tmp_path / "set") is None


def test_cartucho(shared: Path) -> None:
    root = shared / "cartucho_txt"
    truth = read(root)
    assert (len(truth), truth.labels.height, truth.kept_out) == (85, 686, 0)
    results = read(root / "detection-results", images=root / "images-optional")
    assert (len(results), results.labels.height, results.kept_out) == (85, 494, 0)
    assert truth.labels["score"].null_count() == 686
    assert results.labels["score"].null_count() == 0


def test_many_formats(shared: Path) -> None:
    folder = shared / "many_formats" / "data" / "database"
    kinds = ("abs_xywh", "rel_xywh", "abs_xyx2y2")
    sets = [read(folder / "dets" / kind, images=folder / "images") for kind in kinds]
    for one in sets:
        assert (len(one), one.labels.height, one.kept_out) == (98, 452, 0)
        for column in ("x1", "y1", "x2", "y2", "score"):
            difference = one.labels[column] - sets[0].labels[column]
            assert difference.abs().max() < 0.001
    toys = shared / "many_formats" / "toyexample"
    for folder in sorted(toys.glob("dets_class*")):
        dataset = read(folder, images=toys / "images")
        assert (len(dataset), dataset.labels.height, len(dataset.names)) == (10, 12, 1)
        box = dataset.labels.select("x1", "y1", "x2", "y2").row(0)
        np.testing.assert_allclose(box, [12, 44, 344, 481], atol=0.5)
