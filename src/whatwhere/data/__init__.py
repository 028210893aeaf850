"""Labelled pictures: one table for classification and detection, whatever the format."""

from whatwhere.errors import MissingExtraError

try:
    import polars as _polars  # noqa: F401
except ImportError as error:
    raise MissingExtraError("data", "Reading a data set") from error

from whatwhere.data.dataset import Dataset, Targets
from whatwhere.data.findings import Finding
from whatwhere.data.formats import read
from whatwhere.data.merging import merge
from whatwhere.data.shared import SharedRows

__all__ = ["Dataset", "Finding", "SharedRows", "Targets", "merge", "read"]
