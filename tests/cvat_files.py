"""Pieces of CVAT files for its tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tool_files import store

HEAD = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
<version>1.1</version>
"""

META = """<meta><task><id>5</id><name>clip 5</name><labels>
<label><name>car</name><color>#fa3253</color><attributes>
<attribute><name>parked</name><input_type>checkbox</input_type></attribute>
<attribute><name>doors</name><input_type>number</input_type></attribute>
</attributes></label>
<label><name>person</name><color>#33ddff</color></label>
</labels><original_size><width>200</width><height>100</height></original_size></task></meta>
"""


def file(folder: Path, body: str, meta: str = META) -> Path:
    return store(folder / "annotations.xml", f"{HEAD}{meta}{body}</annotations>\n")


def image(*shapes: str, name: str = "a.png", more: str = "") -> str:
    inner = "\n".join(shapes)
    return f'<image id="7" name="{name}" width="200" height="100"{more}>\n{inner}\n</image>\n'


def track(*frames: str, label: str = "car") -> str:
    return f'<track id="4" label="{label}" source="manual">' + "\n".join(frames) + "</track>\n"


def box(frame: int, x: float, **more: Any) -> str:
    said = " ".join(f'{key}="{value}"' for key, value in more.items())
    return f'<box frame="{frame}" xtl="{x}" ytl="1" xbr="{x + 10}" ybr="9" {said}/>'


SKELETON = """<meta><task><labels>
<label><name>person</name><type>skeleton</type><attributes></attributes><svg>&lt;line/&gt;</svg>
</label>
<label><name>head</name><type>points</type><parent>person</parent></label>
<label><name>hand</name><type>points</type><parent>person</parent></label>
<label><name>foot</name><type>points</type><parent>person</parent></label>
</labels></task></meta>"""


def skeleton(more: str = "", **points: str) -> str:
    inner = "".join(f'<points label="{name}" {one}/>' for name, one in points.items())
    return f'<skeleton label="person" source="manual" {more}>{inner}</skeleton>'
