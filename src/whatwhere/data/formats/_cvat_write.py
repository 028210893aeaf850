"""Write CVAT for images 1.1."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._cvat_xml import geometry, mask_attributes
from whatwhere.data.formats._files import add_sizes, unique_names
from whatwhere.data.formats._flags import flag_attributes
from whatwhere.data.formats._outlines import enclosing, outlines_of
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import Record, Records, same
from whatwhere.images import write_atomic

OWN = "ww_"
"""Start of the names of attributes and elements that CVAT does not know, and passes over."""

_SOURCES = {"human": "manual", "model": "auto", "verified": "semi-auto"}
_SIDES = ("xtl", "ytl", "xbr", "ybr")


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: annotations.xml, images/<subset>/.

    Tracks become an attribute track_id of each shape, which CVAT makes tracks of.
    """
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    folders = [one if _is_folder(one) else "" for one in images["split"]]
    names = unique_names(dataset.paths, folders)
    targets = [folder / "images" / one / name for one, name in zip(folders, names, strict=True)]
    there = pictures.place(dataset.paths, targets)
    writer = _Writer(dataset)
    ids = images["id"].to_list()
    writer.made_ids = None in ids or len(set(ids)) < len(ids)
    ids = list(range(len(ids))) if writer.made_ids else ids
    sizes = list(images.select("width", "height").iter_rows())
    for row, name in enumerate(names):
        if there[row]:
            writer.image(row, name, ids[row], sizes[row])
    write_atomic(folder / "annotations.xml", writer.text())
    return findings + writer.findings


def _is_folder(split: str | None) -> bool:
    return split is not None and re.fullmatch(r"[\w -]+(\.[\w -]+)*", split) is not None


class _Writer:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.records = Records(dataset, "cvat")
        self.lines: list[str] = []
        self.findings: list[Finding] = []
        self.declared: dict[str, dict[str, set[str]]] = {name: {} for name in dataset.names}
        self.made_ids = False

    def image(self, row: int, name: str, number: int, size: tuple[int | None, int | None]) -> None:
        image, extra = self.records.images[row], self.records.image_extra(row)
        tags = extra.pop("tags", [])
        given = {"id": str(number), "name": name, "subset": image["split"]}
        given |= {OWN + "group": image["group"]}
        if image["split"] is not None and not _is_folder(image["split"]):
            given[OWN + "split"] = image["split"]
        for key, side in zip(("width", "height"), size, strict=True):
            given[key] = None if side is None else str(side)
        known = {key: str(value) for key, value in extra.items() if _is_name(key)}
        self.lines.append(f"  <image{_attributes(known | given)}>")
        labels = self.records.of(row)
        groups = [label.extra.get("group_id") for label in labels]
        free = 1 + max((one for one in groups if isinstance(one, int)), default=0)
        for tag in tags:
            self._element("tag", {"label": tag, "source": "manual"}, {})
        for label in labels:
            if label.box is None:
                self._element("tag", _base(label), self._said(label))
                continue
            free += self._shape(label, size, free, f"{name}#{len(self.lines)}")
        self.lines.append("  </image>")

    def _shape(
        self, label: Record, size: tuple[int | None, int | None], free: int, where: str
    ) -> int:
        """Write a label; how many group numbers were used up."""
        base, said = _base(label), self._said(label)
        box: tuple[float, ...] = label.box or (0.0,) * 4
        for tag in ("box", "ellipse", "cuboid"):
            drawn = label.extra.get(tag)
            if isinstance(drawn, dict):
                drawn = {key: str(value) for key, value in drawn.items() if _is_name(key)}
                found = geometry(tag, drawn, size)
                if found is not None and same(found[0], box):
                    self._element(tag, base | drawn, said)
                    return 0
        sides = {side: _text(value) for side, value in zip(_SIDES, box, strict=True)}
        outlines = outlines_of(label.segmentation)
        if isinstance(label.segmentation, dict):
            mask = mask_attributes(label.segmentation, size)
            if mask:
                found = geometry("mask", mask, size)
                around = found is not None and same(found[0], box)
                self._element("mask", base | mask | ({} if around else sides), said)
                return 0
            message = "the run lengths do not fit the picture; the box is written without them"
            self.findings.append(Finding("lost-mask", message, where, "warning", "left out"))
        if not outlines:
            self._element("box", base | sides, said)
            return 0
        if same(enclosing(outlines), box):
            sides = {}
        used = 0
        if len(outlines) > 1 or "group_id" in base:
            # Parts of one object have a group; so has an object that shares its own.
            base[OWN + "part"] = str(free)
            base.setdefault("group_id", str(free))
            used = 1
        for points in outlines:
            pairs = zip(points[0::2], points[1::2], strict=True)
            drawn = {"points": ";".join(f"{_text(x)},{_text(y)}" for x, y in pairs)}
            self._element("polygon", base | drawn | sides, said)
        return used

    def _said(self, label: Record) -> dict[str, Any]:
        flags = flag_attributes(label)
        flags.pop("occluded", None)
        said = {key: _text(value) for key, value in flags.items()} | label.attributes
        declared = self.declared[label.name]
        for key in flags:
            declared.setdefault(key, set()).add("text" if key == "track_id" else "checkbox")
        if "score" in flags:
            declared["score"] = {"text"}
        for key, value in label.attributes.items():
            kind = "checkbox" if isinstance(value, bool) else "text"
            declared.setdefault(key, set()).add(kind)
        return said

    def _element(self, tag: str, given: dict[str, Any], said: dict[str, Any]) -> None:
        head = f"    <{tag}{_attributes(given)}"
        if not said:
            self.lines.append(f"{head}/>")
            return
        self.lines.append(f"{head}>")
        for key, value in said.items():
            kind, text = "", value
            if not isinstance(value, str):
                kind, text = f' {OWN}type="json"', json.dumps(value, ensure_ascii=False)
            elif value != value.strip():
                kind = f' {OWN}type="text"'
            line = f"      <attribute name={_quoted(key)}{kind}>{escape(_clean(text))}</attribute>"
            self.lines.append(line)
        self.lines.append(f"    </{tag}>")

    def text(self) -> str:
        """The file."""
        lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>"]
        lines += ["  <version>1.1</version>", "  <meta>"]
        if self.made_ids:
            lines.append(f"    <{OWN}ids>made</{OWN}ids>")
        lines += ["    <task>", f"      <size>{len(self.dataset)}</size>", "      <labels>"]
        for name in self.dataset.names:
            lines += self._class(name)
        lines += ["      </labels>", "    </task>", "  </meta>"]
        return "\n".join([*lines, *self.lines, "</annotations>", ""])

    def _class(self, name: str) -> list[str]:
        known = dict(self.dataset.class_info.get(name, {}))
        color = known.get("color")
        lines = ["        <label>", f"          <name>{escape(_clean(name))}</name>"]
        if isinstance(color, str) and color.strip() == color != "":
            lines.append(f"          <color>{escape(_clean(color))}</color>")
            del known["color"]
        if known:
            text = escape(_clean(json.dumps(known, ensure_ascii=False)))
            lines.append(f"          <{OWN}info>{text}</{OWN}info>")
        lines.append("          <attributes>")
        for key, kinds in self.declared[name].items():
            kind = "checkbox" if kinds == {"checkbox"} else "text"
            lines += [
                "            <attribute>",
                f"              <name>{escape(_clean(key))}</name>",
                "              <mutable>False</mutable>",
                f"              <input_type>{kind}</input_type>",
                "              <default_value></default_value>",
                "              <values></values>",
                "            </attribute>",
            ]
        return [*lines, "          </attributes>", "        </label>"]


def _base(label: Record) -> dict[str, Any]:
    base: dict[str, Any] = {"label": label.name}
    if "source" in label.values:
        base["source"] = _SOURCES.get(label.values["source"])
    base["occluded"] = str(int("occluded" in label.flags))
    base["z_order"] = str(label.extra.get("z_order", 0))
    if "group_id" in label.extra:
        base["group_id"] = str(label.extra["group_id"])
    return base


def _attributes(given: dict[str, Any]) -> str:
    return "".join(f" {key}={_quoted(value)}" for key, value in given.items() if value is not None)


def _quoted(value: str) -> str:
    return quoteattr(_clean(value))


def _clean(text: str) -> str:
    """Without what XML cannot say."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and re.fullmatch(r"[A-Za-z_][\w.-]*", key) is not None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
