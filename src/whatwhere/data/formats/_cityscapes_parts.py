"""Labels of Cityscapes, and the names of its files."""

from __future__ import annotations

import re
from dataclasses import dataclass

ENDINGS = {
    "gtFine": "_gtFine_polygons",
    "gtBbox3d": "_gtBbox3d",
    "gtBboxCityPersons": "_gtBboxCityPersons",
    "gtCoarse": "_gtCoarse_polygons",
}
"""End of the name of a JSON file, by the folder of its kind; the first kind found is read."""

PICTURE = "_leftImg8bit"

INSTANCES = frozenset(
    {"person", "rider", "car", "truck", "bus", "caravan", "trailer", "train", "motorcycle"}
    | {"bicycle"}
)
"""Labels of single objects (hasInstances in cityscapesscripts/helpers/labels.py)."""

# ignoreInEval of the same table, among the labels with instances.
_IGNORED = frozenset({"caravan", "trailer"})

FRAME = frozenset({"ego vehicle", "rectification border", "out of roi", "unlabeled"})
"""All that the annotation of a picture has whose labels are withheld, as in the test split."""

STUFF = frozenset(
    {*FRAME, "static", "dynamic", "ground", "road", "sidewalk", "parking", "rail track"}
    | {"building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup"}
    | {"traffic light", "traffic sign", "vegetation", "terrain", "sky", "license plate"}
)
"""Labels without instances."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a label says: the class, whether it is a group, whether it is ignored."""

    name: str
    crowd: bool = False
    ignore: bool = False


def meaning(label: str) -> Meaning | None:
    """What a label of polygons means; None for stuff.

    Labels that Cityscapes does not have are classes of their own.
    """
    if label in STUFF:
        return None
    base = label.removesuffix("group")
    if base != label and base in INSTANCES:
        return Meaning(base, True, True)
    return Meaning(label, False, label in _IGNORED)


def person_meaning(label: str) -> Meaning:
    """What a label of CityPersons means."""
    if label == "person group":
        return Meaning("person", True, True)
    return Meaning(label, label == "ignore", label == "ignore")


def label_of(name: str, crowd: bool) -> str:
    """The label of a class, or of a group of it."""
    return f"{name}group" if crowd and name in INSTANCES else name


def group_of(city: str | None, stem: str) -> str | None:
    """City and sequence of a picture, "aachen/000173"; of other names only the folder."""
    named = re.fullmatch(r"(.+)_(\d{6})_(\d{6})", stem)
    if named is not None and named[1] == city:
        return f"{city}/{named[2]}"
    return None if city == "default" else city
