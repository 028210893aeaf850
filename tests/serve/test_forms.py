"""Forms arrive in pieces of any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatwhere.serve.errors import RefusedError
from whatwhere.serve.forms import Form, Picture, clean_name

TYPE = "multipart/form-data; boundary=edge"


def form_of(*parts: tuple[str, bytes], end: bytes = b"--edge--\r\n") -> bytes:
    body = b"".join(
        b"--edge\r\nContent-Disposition: form-data; "
        + disposition.encode()
        + b"\r\n\r\n"
        + data
        + b"\r\n"
        for disposition, data in parts
    )
    return body + end


@given(st.binary(max_size=300), st.integers(1, 40))
def test_pictures_come_out_as_they_went_in(data: bytes, size: int) -> None:
    data = data.replace(b"\r\n--edge", b"")
    body = form_of(('name="a"; filename="x.png"', data), ('name="threshold"', b"0.5"))
    form = Form(TYPE, 3)
    for start in range(0, len(body), size):
        form.feed(body[start : start + size])
    form.close()
    assert form.pictures == [Picture("x.png", data)]
    assert form.fields == {"threshold": "0.5"}


def refuses(status: int, body: bytes, content_type: str = TYPE) -> str:
    with pytest.raises(RefusedError) as refused:
        read(body, content_type)
    assert refused.value.status == status
    return refused.value.sentence


def read(body: bytes, content_type: str = TYPE) -> Form:
    form = Form(content_type, 2)
    form.feed(body)
    form.close()
    return form


FILE = ('name="a"; filename="x"', b"1")


def test_damaged_and_odd_forms_are_refused() -> None:
    assert "no boundary" in refuses(400, b"", "multipart/form-data")
    assert "no boundary" in refuses(400, b"", "multipart/form-data; boundary=")
    refuses(400, b"", "multipart/form-data; boundary=" + "x" * 300)
    assert "cannot be read" in refuses(400, b"something else")
    assert "ends before" in refuses(400, form_of(FILE, end=b""))
    assert "no picture" in refuses(400, form_of(('name="a"', b"1")))
    assert "no picture" in refuses(400, form_of(('name="a"; filename=""', b"")))
    assert "no name" in refuses(400, form_of(('filename="x"', b"1")))
    assert "occurs twice" in refuses(400, form_of(('name="a"', b"1"), ('name="a"', b"2"), FILE))
    assert "more than 2 pictures" in refuses(413, form_of(FILE, FILE, FILE))
    assert "more than 1024 bytes" in refuses(413, form_of(('name="a"', b"1" * 1025)))
    fields = [(f'name="a{n}"', b"") for n in range(33)]
    assert "more than 32 fields" in refuses(413, form_of(*fields))
    refuses(400, form_of((f'name="{"x" * 5000}"', b"")))
    head = b"--edge\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20))
    refuses(400, head + b"\r\n")


@given(st.binary(max_size=400))
def test_whatever_comes_is_a_form_or_refused(data: bytes) -> None:
    for body in (data, b"--edge\r\n" + data, form_of(FILE)[:20] + data):
        status, form = 0, None
        try:
            form = read(body)
        except RefusedError as refused:
            status = refused.status
        assert status in (400, 413) or (form is not None and form.pictures)


@pytest.mark.parametrize(
    ("given_name", "clean"),
    [
        ("a.png", "a.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\a b.png", "a b.png"),
        ("a\x00\n\x1b.png", "a.png"),
        ("folder/", None),
        ("", None),
        ("ü" * 300, "ü" * 255),
    ],
)
def test_names_lose_folders_and_control_characters(given_name: str, clean: str | None) -> None:
    assert clean_name(given_name) == clean
