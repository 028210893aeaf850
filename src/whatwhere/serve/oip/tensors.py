"""Pictures out of a request: tensors as JSON, or as bytes behind it (the binary extension)."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from whatwhere.runtime.items import Source, file_item
from whatwhere.serve.errors import RefusedError
from whatwhere.serve.oip.schemas import InferRequest, InputTensor, TensorMetadata

IMAGES = "images"
FILES = "image_files"
INPUTS = (
    TensorMetadata(name=IMAGES, datatype="UINT8", shape=[-1, -1, -1, 3]),
    TensorMetadata(name=FILES, datatype="BYTES", shape=[-1]),
)
"""RGB pixels (N, height, width, 3), 0..255, of any size; or encoded files of N pictures."""

# Of parameters: what the server does nothing with, but common clients send. MLServer's client
# says how it encoded a tensor, Triton's has priorities of queues.
_IGNORED = {"content_type", "headers", "priority"}
_OF_REQUEST = ("threshold", "timeout", "binary_data_output")
# A value in parsed JSON: its place in a list and an object of Python's, both rounded up.
_BYTES_A_VALUE = 64


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was understood.

    Args:
        pictures: encoded files or pixels, at least one.
        id: of the client.
        threshold: lowest score, 0..1; None for the model's own.
        timeout: seconds; None for the server's deadline.
        outputs: names of those that are wanted, each with whether it is wanted as bytes; None
            for all.
        binary: whether outputs that do not say are wanted as bytes.
    """

    pictures: list[Source]
    id: str | None
    threshold: float | None
    timeout: float | None
    outputs: dict[str, bool] | None
    binary: bool


def json_bytes(header: str | None, body: bytes) -> int:
    """How many bytes of a body are JSON.

    Args:
        header: `Inference-Header-Content-Length`; None if there is none.

    Raises:
        RefusedError: 400, the header does not fit the body.
    """
    if header is None:
        return len(body)
    if not (header.isascii() and header.isdigit()) or int(header[:20]) > len(body):
        raise RefusedError(
            400,
            f"Inference-Header-Content-Length must be a number up to {len(body)}, the length of"
            " the body",
        )
    return int(header)


def parsed_bytes(body: bytes, count: int) -> int:
    """An upper bound of the memory that the JSON takes when it is parsed, without its text.

    A list of numbers of two characters each grows to many times its text.

    Args:
        body: of the request.
        count: bytes at its beginning that are JSON.
    """
    return _BYTES_A_VALUE * sum(body.count(mark, 0, count) for mark in (b",", b"[", b"{"))


def read_question(body: bytes, count: int, most: int, max_pixels: int) -> Question:
    """The pictures and wishes of a request; for a thread, since large JSON takes a while.

    Args:
        body: of the request.
        count: bytes at its beginning that are JSON. With 0 the body is the file of one picture
            (Triton's raw binary request).
        most: pictures.
        max_pixels: of a picture.

    Raises:
        RefusedError: 400, it is not of the protocol, or asks for what there is not; 413, there
            are too many pictures; 422, pictures have too many pixels.
    """
    if not count:
        if not body:
            raise RefusedError(400, "the request is empty: send JSON with inputs")
        return Question([file_item("the picture", body)], None, None, None, None, False)
    request = _parsed(body[:count])
    binary = list(_binary(request.inputs, body, count))
    if len(request.inputs) > 1:
        raise RefusedError(
            400, f"there are {len(request.inputs)} inputs: send {IMAGES} or {FILES}, not both"
        )
    pictures = _pictures(request.inputs[0], binary[0], most, max_pixels)
    given = request.parameters
    _check_known(given, _OF_REQUEST, "the request")
    timeout = _number(given, "timeout", 1, math.inf)
    whole = _flag(given, "binary_data_output")
    outputs = None
    if request.outputs is not None:
        outputs = {}
        for one in request.outputs:
            _check_known(one.parameters, ("binary_data",), f"output {one.name[:100]!r}")
            asked = "binary_data" in one.parameters
            outputs[one.name] = _flag(one.parameters, "binary_data") if asked else whole
    return Question(
        pictures=pictures,
        id=request.id,
        threshold=_number(given, "threshold", 0, 1),
        timeout=None if timeout is None else timeout / 1e6,
        outputs=outputs,
        binary=whole,
    )


def _parsed(text: bytes) -> InferRequest:
    try:
        return InferRequest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:100]
        words = first["msg"][:1].lower() + first["msg"][1:200]
        place = f"{where} of the request" if where else "the request"
        raise RefusedError(400, f"{place} does not fit the protocol: {words}") from None


def _binary(inputs: Iterable[InputTensor], body: bytes, start: int) -> Iterator[memoryview | None]:
    """The bytes behind the JSON that belong to each input."""
    rest = memoryview(body)[start:]
    for one in inputs:
        title = f"input {one.name[:100]!r}"
        _check_known(one.parameters, ("binary_data_size",), title)
        size = one.parameters.get("binary_data_size")
        if size is None:
            yield None
            continue
        if type(size) is not int or not 0 <= size <= len(rest):
            raise RefusedError(
                400,
                f"{title} has a binary_data_size that does not fit: {len(rest)} bytes are left"
                " behind the JSON",
            )
        if one.data is not None:
            raise RefusedError(400, f"{title} has data and binary_data_size: send one of them")
        yield rest[:size]
        rest = rest[size:]
    if len(rest):
        raise RefusedError(
            400, f"{len(rest)} bytes behind the JSON belong to no input: give binary_data_size"
        )


def _pictures(
    given: InputTensor, binary: memoryview | None, most: int, max_pixels: int
) -> list[Source]:
    known = {one.name: one for one in INPUTS}
    if given.name not in known:
        raise RefusedError(400, f"there is no input {given.name[:100]!r}: send {IMAGES} or {FILES}")
    wanted = known[given.name]
    if given.datatype != wanted.datatype:
        raise RefusedError(
            400,
            f"{given.name} has the datatype {given.datatype[:20]!r}: send {wanted.datatype}",
        )
    if binary is None and given.data is None:
        raise RefusedError(400, f"{given.name} has no data: add it, or binary_data_size")
    if any(side < 1 for side in given.shape) or not _fits(given):
        raise RefusedError(
            400, f"{given.name} has the shape {given.shape}: send {_FORMS[given.name]}"
        )
    if given.shape[0] > most:
        raise RefusedError(413, f"there are {given.shape[0]} pictures: send at most {most}")
    if given.name == FILES:
        return list(_files(given, binary))
    return list(_images(given, binary, max_pixels))


_FORMS = {IMAGES: "[pictures, height, width, 3], nothing of it 0", FILES: "[pictures]"}


def _fits(given: InputTensor) -> bool:
    if given.name == IMAGES:
        return len(given.shape) == 4 and given.shape[3] == 3
    # Clients that count a batch beside each tensor's own sides send (N, 1).
    return len(given.shape) == 1 or (len(given.shape) == 2 and given.shape[1] == 1)


def _images(given: InputTensor, binary: memoryview | None, max_pixels: int) -> Iterator[Source]:
    _, height, width, _ = given.shape
    if height * width > max_pixels:
        raise RefusedError(
            422,
            f"the pictures are {width}x{height} pixels, over the limit of {max_pixels} pixels:"
            " shrink them",
        )
    count = math.prod(given.shape)
    if binary is not None:
        if len(binary) != count:
            raise RefusedError(
                400, f"{IMAGES} of shape {given.shape} need {count} bytes, not {len(binary)}"
            )
        values = np.frombuffer(binary, dtype=np.uint8)
    else:
        values = _values(given.data or [], count, given.shape)
    yield from values.reshape(given.shape)


def _values(data: list[Any], count: int, shape: list[int]) -> Any:
    try:
        # As float64 nothing is cut off: fractions are seen, and null becomes NaN.
        values = np.asarray(data, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise RefusedError(
            400, f"the data of {IMAGES} are no numbers, or rows of different lengths"
        ) from None
    if values.size != count or (values.ndim > 1 and list(values.shape) != shape):
        raise RefusedError(
            400,
            f"{IMAGES} of shape {shape} need {count} values, flat or nested so, not"
            f" {list(values.shape)}",
        )
    # Written so that NaN fails.
    if not ((values >= 0) & (values <= 255) & (values == np.floor(values))).all():
        raise RefusedError(400, f"the data of {IMAGES} must be whole numbers 0..255")
    return values.astype(np.uint8)


def _files(given: InputTensor, binary: memoryview | None) -> Iterator[Source]:
    count = given.shape[0]
    files = _decoded(given.data or []) if binary is None else _elements(binary)
    number = 0
    for number, data in enumerate(files, 1):
        if number <= count:
            yield file_item("the picture" if count == 1 else f"picture {number}", bytes(data))
    if number != count:
        raise RefusedError(400, f"{FILES} of shape {given.shape} have {number} elements")


def _elements(binary: memoryview) -> Iterator[memoryview]:
    """Elements of BYTES: each its length in 4 bytes, little end first, then its bytes."""
    rest = binary
    while len(rest):
        size = int.from_bytes(rest[:4], "little")
        if len(rest) < 4 or size > len(rest) - 4:
            raise RefusedError(400, f"the binary data of {FILES} end in the middle of an element")
        yield rest[4 : 4 + size]
        rest = rest[4 + size :]


def _decoded(data: list[Any]) -> Iterator[bytes]:
    for number, one in enumerate(data, 1):
        # Of shape (N, 1) and nested.
        text = one[0] if isinstance(one, list) and len(one) == 1 else one
        try:
            if not isinstance(text, str):
                raise TypeError
            yield base64.b64decode(text, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise RefusedError(
                400,
                f"element {number} of {FILES} is no base64: JSON cannot hold the bytes of a"
                " picture as they are; encode them, or send them behind the JSON",
            ) from None


def _check_known(given: dict[str, Any], known: Iterable[str], of: str) -> None:
    unknown = given.keys() - {*known} - _IGNORED
    if unknown:
        raise RefusedError(
            400,
            f"{of} has a parameter {min(unknown)[:100]!r} that is not known here: choose from"
            f" {', '.join(known)}",
        )


def _number(given: dict[str, Any], name: str, low: float, high: float) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    # Written so that NaN fails; true is no number.
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RefusedError(400, f"the parameter {name} must be a number in {low:g}..{high:g}")
    try:
        return float(value)
    except OverflowError:
        raise RefusedError(400, f"the parameter {name} is too large") from None


def _flag(given: dict[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise RefusedError(400, f"the parameter {name} must be true or false")
    return value
