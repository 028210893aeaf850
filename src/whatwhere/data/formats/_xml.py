"""A small XML tree with line numbers, for files that nobody vouches for."""

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat


class XmlError(Exception):
    """The file is not XML that we read; the message says why and in which line."""


class Node:
    """An element: tag, line (from 1), attributes, text and children."""

    __slots__ = ("attributes", "children", "line", "tag", "text")

    def __init__(self, tag: str, line: int, attributes: dict[str, str] | None = None) -> None:
        self.tag, self.line, self.text = tag, line, ""
        self.attributes = attributes or {}
        self.children: list[Node] = []

    def child(self, tag: str) -> Node | None:
        """The first direct child of that name."""
        return next((one for one in self.children if one.tag == tag), None)

    def value(self, *path: str) -> str | None:
        """Stripped text of the element at that path of names, None if it is not there."""
        node: Node | None = self
        for tag in path:
            node = None if node is None else node.child(tag)
        return None if node is None else node.text.strip()


def parse_xml(path: Path) -> Node:
    """The root element of a file; see `parse_xml_bytes`."""
    return parse_xml_bytes(path.read_bytes())


def parse_xml_bytes(data: bytes) -> Node:
    """The root element of a file's content.

    Document types and entities are refused, since they can make a parser read other files
    or fill the memory; annotation files have none.

    Raises:
        XmlError: the file is not well-formed, or has a document type.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    root = Node("", 0)
    stack = [root]

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(stack) > 100:
            raise XmlError(f"elements nested too deeply in line {parser.CurrentLineNumber}")
        node = Node(tag, parser.CurrentLineNumber, attributes)
        stack[-1].children.append(node)
        stack.append(node)

    def text(letters: str) -> None:
        stack[-1].text += letters

    def refuse(*_: object) -> None:
        raise XmlError(f"a document type or entity in line {parser.CurrentLineNumber}")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: stack.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise XmlError(f"not well-formed XML: {reason} in line {error.lineno}") from None
    except (ValueError, LookupError) as error:
        raise XmlError(f"not readable as XML: {error}") from None
    return root.children[0]
