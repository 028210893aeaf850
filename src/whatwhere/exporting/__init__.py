"""Other forms of a finished model, each compared with the original before it is written.

`export` writes 8-bit and half-precision ONNX files and OpenVINO's own files; `export_for` writes
what other servers want beside a file. Torch is not needed.
"""

from whatwhere.errors import MissingExtraError

try:
    import whatwhere.data  # noqa: F401
except MissingExtraError as error:
    raise MissingExtraError("export", "Exporting a model") from error

from whatwhere.exporting.gate import Change, Gate, Side
from whatwhere.exporting.run import Exported, export
from whatwhere.exporting.servers import Deployment, export_for

__all__ = ["Change", "Deployment", "Exported", "Gate", "Side", "export", "export_for"]
