"""Run a model: backends, decoding, sources, predictors."""

from __future__ import annotations
