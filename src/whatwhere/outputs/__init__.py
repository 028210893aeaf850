"""What leaves the program: drawings, result files, reports."""

from __future__ import annotations
