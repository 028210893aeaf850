"""Ask a running server (`whatwhere serve`) as if its model were here."""

from __future__ import annotations

from whatwhere.client.client import Client
from whatwhere.client.records import ServedModel

__all__ = ["Client", "ServedModel"]
