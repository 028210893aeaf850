"""OpenVINO's own files: read without OpenVINO, and refused where they are not whole."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from colour_model import write_model
from whatwhere.errors import ModelError
from whatwhere.runtime import read_spec
from whatwhere.runtime.ir import is_ir, read_ir
from whatwhere.specs import SEEN_KEY, SPEC_KEY


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The parts of such a file that are ours."""
    spec = read_spec(write_model(tmp_path / "m.onnx", ("red", 'a "b" & <c>', "größe")))
    text = quoteattr(spec.model_dump_json())
    path = tmp_path / "m.xml"
    path.write_text(
        f'<?xml version="1.0"?><net name="m"><layers/><rt_info><other value="1"/>'
        f'<whatwhere><{SPEC_KEY} value={text}/><{SEEN_KEY} value="x"/></whatwhere></rt_info></net>',
        "utf-8",
    )
    path.with_suffix(".bin").write_bytes(b"weights")
    return path


def test_the_spec_is_read_without_openvino(written: Path) -> None:
    assert is_ir(written)
    assert not is_ir(written.read_bytes())
    assert read_spec(written).names == ("red", 'a "b" & <c>', "größe")
    assert read_ir(written, "m").metadata[SEEN_KEY] == "x"


def test_what_is_not_whole_is_refused(written: Path) -> None:
    whole = written.read_text("utf-8")
    for text, words in {
        whole[: len(whole) // 2]: "not a whole OpenVINO file",
        "": "not a whole OpenVINO file",
        '<net><rt_info><other><whatwhere value="1"/></other></rt_info></net>': "without a model",
        '<!DOCTYPE n [<!ENTITY a "b">]><net>&a;</net>': "declares entities",
        whole.replace("classify", "dream"): "damaged or newer model spec",
    }.items():
        written.write_text(text, "utf-8")
        with pytest.raises(ModelError, match=words):
            read_spec(written)
    written.write_text(whole, "utf-8")
    written.with_suffix(".bin").unlink()
    with pytest.raises(ModelError, match=r"needs its weights beside it, in 'm\.bin'"):
        read_spec(written)
    with pytest.raises(ModelError, match="is not a file"):
        read_ir(written.with_name("none.xml"), "none.xml")
