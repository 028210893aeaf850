"""The commands `whatwhere data ...`: one module each.

Importing a command's module must import nothing heavy.
"""

from whatwhere.cli.data import (
    check,
    convert,
    filter,
    formats,
    merge,
    rename,
    sample,
    split,
    stats,
    view,
)

__all__ = [
    "check",
    "convert",
    "filter",
    "formats",
    "merge",
    "rename",
    "sample",
    "split",
    "stats",
    "view",
]
