"""The commands `whatwhere data ...`: one module each.

Importing a command's module must import nothing heavy.
"""

from whatwhere.cli.data import check, convert, split, stats

__all__ = ["check", "convert", "split", "stats"]
