"""Whatwhere: what is in a picture, and where."""

from __future__ import annotations

__version__ = "0.1.0"
