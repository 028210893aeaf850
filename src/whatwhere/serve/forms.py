"""Forms with pictures: multipart/form-data (RFC 7578), read as it arrives and kept in memory.

Starlette's own reader writes large parts to temporary files, for which a container without a
writable disk has no place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from whatwhere.serve.errors import RefusedError

_HEADER_BYTES = 4096
_HEADERS = 8
_FIELD_BYTES = 1024
_FIELDS = 32
_NAME = 255


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file that a client sent.

    Args:
        name: what the client calls it, without folders; None if it has no name.
        data: the file.
    """

    name: str | None
    data: bytes


@dataclass(slots=True)
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    file: str | None = None
    data: bytearray = field(default_factory=bytearray)


class Form:
    """Takes a form in pieces.

    Args:
        content_type: of the request.
        pictures: most that it may hold.

    Raises:
        RefusedError: 400, the content type names no usable boundary.
    """

    def __init__(self, content_type: str, pictures: int) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        self._most = pictures
        self._part = _Part()
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._ended = False
        self.pictures: list[Picture] = []
        self.fields: dict[str, str] = {}
        if not boundary:
            raise RefusedError(400, "the form's Content-Type names no boundary: add it")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, a, b: self._header[0].extend(data[a:b]),
                    "on_header_value": lambda data, a, b: self._header[1].extend(data[a:b]),
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._finish,
                },
                max_header_count=_HEADERS,
                max_header_size=_HEADER_BYTES,
            )
        except FormParserError as error:
            raise RefusedError(400, f"the form cannot be read: {error}") from None

    def feed(self, data: bytes) -> None:
        """The next piece.

        Raises:
            RefusedError: 400, the form is damaged; 413, it has too many or too long parts.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise RefusedError(400, f"the form cannot be read: {error}") from None

    def close(self) -> None:
        """There is nothing more.

        Raises:
            RefusedError: 400, the form ends in the middle or holds no picture.
        """
        try:
            self._parser.finalize()
        except FormParserError as error:
            raise RefusedError(400, f"the form cannot be read: {error}") from None
        if not self._ended:
            raise RefusedError(400, "the form ends before its last boundary: send it whole")
        if not self.pictures:
            raise RefusedError(400, "the form holds no picture: add one as a file")

    def _begin(self) -> None:
        self._part = _Part()

    def _header_end(self) -> None:
        name, value = self._header
        self._part.headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        part = self._part
        kind, options = parse_options_header(part.headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise RefusedError(400, "a part of the form has no name: send form-data")
        part.name = options[b"name"].decode("utf-8", "replace")
        if b"filename" in options:
            part.file = options[b"filename"].decode("utf-8", "replace")
            if len(self.pictures) >= self._most:
                raise RefusedError(
                    413, f"the form holds more than {self._most} pictures: send fewer"
                )
        elif len(self.fields) >= _FIELDS:
            raise RefusedError(413, f"the form has more than {_FIELDS} fields")

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.data += memoryview(data)[start:end]
        if part.file is None and len(part.data) > _FIELD_BYTES:
            raise RefusedError(
                413,
                f"the field {part.name[:_NAME]!r} has more than {_FIELD_BYTES} bytes:"
                " send pictures as files",
            )

    def _end(self) -> None:
        part = self._part
        if part.file is None:
            if part.name in self.fields:
                raise RefusedError(400, f"the field {part.name[:_NAME]!r} occurs twice")
            self.fields[part.name] = part.data.decode("utf-8", "replace")
        elif part.file or part.data:
            # A browser sends an empty file without a name where none was chosen.
            self.pictures.append(Picture(clean_name(part.file), bytes(part.data)))

    def _finish(self) -> None:
        self._ended = True


def clean_name(given: str) -> str | None:
    """The last part of what a client calls a file, without control characters; None if empty."""
    last = given.replace("\\", "/").rpartition("/")[2]
    return "".join(mark for mark in last if mark.isprintable())[:_NAME] or None
