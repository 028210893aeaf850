"""What CVAT's XML declares of each class: colour, attributes, and the points of skeletons."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

from whatwhere.data.dataset import Dataset
from whatwhere.data.formats._xml import Node

OWN = "ww_"
"""Start of the names of attributes and elements that CVAT does not know, and passes over."""

_MADE = f'{OWN}made="1"'
_PARTS = {"name", "mutable", "input_type", "default_value", "values"}
_TEXTS = ("color", "type", "svg")


class Classes:
    """The classes of one or more files.

    - names: in their order.
    - info: `Dataset.class_info`: "color", "type", "svg" (of a skeleton), "keypoints" (names of
      a skeleton's points) and "attributes", a list of {name, mutable, input_type,
      default_value, values}.
    - kinds: input type by class and attribute.
    - points: names of the points of a skeleton's class, in their order.
    """

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.info: dict[str, dict[str, Any]] = {}
        self.kinds: dict[tuple[str, str], str] = {}
        self.points: dict[str, list[str]] = {}

    def read(self, label: Node) -> None:
        """Take up an element <label>; what an earlier file said of the class stands."""
        name, parent = label.value("name"), label.value("parent")
        if not name:
            return
        if parent:
            self._point(parent, name, OWN + "made" in label.attributes)
            return
        self.names.setdefault(name)
        known: dict[str, Any] = {}
        for key in _TEXTS:
            value = label.value(key)
            if value and (key, value) != ("type", "any"):
                known[key] = value
        declared = label.child("attributes")
        fields = []
        for one in declared.children if declared is not None else []:
            field = _field(one)
            self.kinds.setdefault((name, field["name"]), field["input_type"])
            if OWN + "made" not in one.attributes and field["name"]:
                fields.append(field)
        if fields:
            known["attributes"] = fields
        known |= _object(label.value(OWN + "info"))
        if known:
            self.info.setdefault(name, {})
            self.info[name] = known | self.info[name]

    def _point(self, parent: str, name: str, made: bool) -> None:
        listed = self.points.setdefault(parent, [])
        if name in listed:
            return
        listed.append(name)
        if not made:
            self.info.setdefault(parent, {})["keypoints"] = listed


def _field(node: Node) -> dict[str, Any]:
    values = node.value("values")
    return {
        "name": node.value("name") or "",
        "mutable": (node.value("mutable") or "").lower() == "true",
        "input_type": node.value("input_type") or "",
        "default_value": node.value("default_value") or "",
        "values": values.split("\n") if values else [],
    }


def _object(value: str | None) -> dict[str, Any]:
    try:
        found = json.loads(value or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Declarations:
    """What a file that is written says of the classes.

    Args:
        dataset: what is written.
        mutable: whether attributes that CVAT did not declare may change along a track.
    """

    def __init__(self, dataset: Dataset, mutable: bool = False) -> None:
        self.dataset, self.mutable = dataset, mutable
        self.kinds: dict[str, dict[str, set[str]]] = {name: {} for name in dataset.names}
        self._given = {
            name: _fields(info.get("attributes")) for name, info in dataset.class_info.items()
        }
        self._skeletons: set[str] = set()
        self._points = {name: self._point_names(name, most) for name, most in _most(dataset)}

    def used(self, name: str, attribute: str, kind: str) -> None:
        """A label of the class has this attribute, of this input type."""
        self.kinds[name].setdefault(attribute, set()).add(kind)

    def takes_text(self, name: str, attribute: str) -> bool:
        """Whether a text is read as what it says: the attribute is no number or checkbox."""
        return not any(
            field["name"] == attribute and field["input_type"] in ("number", "checkbox")
            for field in self._given.get(name, ())
        )

    def points(self, name: str) -> list[str]:
        """Names of the points of a skeleton that is written: the class's, else numbers."""
        self._skeletons.add(name)
        return self._points[name]

    def _point_names(self, name: str, most: int) -> list[str]:
        own = self._own_points(name)
        return own if len(own) >= most else [str(number + 1) for number in range(most)]

    def _own_points(self, name: str) -> list[str]:
        found = self.dataset.class_info.get(name, {}).get("keypoints")
        if not isinstance(found, list) or not all(_is_plain(one) for one in found):
            return []
        return found if len(set(found)) == len(found) else []

    def lines(self) -> list[str]:
        """The elements <label>."""
        return [line for name in self.dataset.names for line in self._class(name)]

    def _class(self, name: str) -> list[str]:
        known = dict(self.dataset.class_info.get(name, {}))
        type_ = known.get("type")
        lines = ["        <label>", f"          <name>{tidy(name)}</name>"]
        for key in _TEXTS:
            if _is_plain(known.get(key)) and (key, known[key]) != ("type", "any"):
                lines.append(f"          <{key}>{tidy(known.pop(key))}</{key}>")
        fields = self._given.get(name, [])
        if fields:
            del known["attributes"]
        points = self._points[name]
        declared_so = points == known.get("keypoints") and type_ == "skeleton"
        if name not in self._skeletons and not declared_so:
            points = []
        made_points = "" if points == known.get("keypoints") else f" {_MADE}"
        if points and not made_points:
            del known["keypoints"]
        if known:
            text = tidy(json.dumps(known, ensure_ascii=False))
            lines.append(f"          <{OWN}info>{text}</{OWN}info>")
        lines.append("          <attributes>")
        declared = {field["name"] for field in fields}
        for field in fields:
            lines += _field_lines(field, "")
        for key, kinds in self.kinds[name].items():
            if key not in declared:
                kind = "checkbox" if kinds == {"checkbox"} else "text"
                made = {"name": key, "mutable": self.mutable, "input_type": kind}
                lines += _field_lines(made | {"default_value": "", "values": []}, f" {_MADE}")
        lines += ["          </attributes>", "        </label>"]
        for point in points:
            lines += [
                f"        <label{made_points}>",
                f"          <name>{tidy(point)}</name>",
                "          <type>points</type>",
                "          <attributes></attributes>",
                f"          <parent>{tidy(name)}</parent>",
                "        </label>",
            ]
        return lines


def _most(dataset: Dataset) -> Iterator[tuple[str, int]]:
    """How many key points the labels of each class have at most."""
    most = dict.fromkeys(dataset.names, 0)
    given = dataset.labels.select("class_id", "keypoints").drop_nulls()
    for number, text in given.iter_rows():
        count = len(key_points(json.loads(text))) // 3
        name = dataset.names[number]
        most[name] = max(most[name], count)
    yield from most.items()


def key_points(value: Any) -> list[int | float]:
    """[x, y, visibility, ...] if it is that, else nothing."""
    if not isinstance(value, list) or len(value) % 3:
        return []
    numbers = [isinstance(one, (int, float)) and not isinstance(one, bool) for one in value]
    good = all(numbers) and all(one in (0, 1, 2) for one in value[2::3])
    return value if good and all(map(math.isfinite, value)) else []


def _fields(value: Any) -> list[dict[str, Any]]:
    """Declarations as `Classes` gives them; nothing if they are something else."""
    found = value if isinstance(value, list) else []
    for one in found:
        if not isinstance(one, dict) or set(one) != _PARTS or not isinstance(one["mutable"], bool):
            return []
        if not _is_plain(one["name"]) or not isinstance(one["values"], list):
            return []
        texts = [one[key] for key in ("input_type", "default_value") if one[key] != ""]
        if not all(_is_plain(text) for text in [*texts, *one["values"]]):
            return []
    return found


def _is_plain(value: Any) -> bool:
    """Whether an element can say it in one line."""
    plain = isinstance(value, str) and value != "" and value == value.strip()
    return plain and len(value.splitlines()) == 1 and clean(value) == value


def _field_lines(field: dict[str, Any], made: str) -> list[str]:
    values = "\n".join(field["values"])
    return [
        f"            <attribute{made}>",
        f"              <name>{tidy(field['name'])}</name>",
        f"              <mutable>{field['mutable']}</mutable>",
        f"              <input_type>{tidy(field['input_type'])}</input_type>",
        f"              <default_value>{tidy(field['default_value'])}</default_value>",
        f"              <values>{tidy(values)}</values>",
        "            </attribute>",
    ]


def clean(text: str) -> str:
    """Without what XML cannot say."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


def tidy(text: str) -> str:
    """The text of an element."""
    return escape(clean(text))
