"""What is watched and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from whatwhere.drift.judge import LEAST_WINDOW, RATE, WINDOW


class MonitorSettings(BaseModel):
    """How a server watches itself.

    Args:
        log_days: entries of the prediction log are deleted after so many days; 0 for never.
        log_rows: the log keeps so many entries at most, the newest; 0 for any number.
        log_thumbnails: small pictures (256 pixels) are kept with the entries.
        log_private: neither names of pictures nor of clients nor thumbnails are kept.
        drift: whether answers and pictures are compared with the model's reference.
        drift_window: pictures in a window.
        drift_rate: share of windows without any change that give an alarm.
        drift_spacing_seconds: time between two pictures that are measured, of one model: so
            measuring costs little, and a burst of like pictures does not fill a window.
        drift_learn: a model without a reference takes its first 256 measured pictures as one.
        webhook: address that alerts are sent to; None for none.
        review: folder for uncertain and surprising pictures; None for none. They are kept whole,
            so give one only where that is allowed.
        review_pictures: most pictures in it.
        review_days: they are deleted after so many days; 0 for never.
        json_logs: log lines are JSON objects.
        otel: traces and figures go to OpenTelemetry, as its own environment variables say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_days: float = Field(default=30.0, ge=0)
    log_rows: int = Field(default=1_000_000, ge=0)
    log_thumbnails: bool = False
    log_private: bool = False
    drift: bool = True
    drift_window: int = Field(default=WINDOW, ge=LEAST_WINDOW, le=10_000)
    drift_rate: float = Field(default=RATE, gt=0, le=0.05)
    drift_spacing_seconds: float = Field(default=0.1, ge=0)
    drift_learn: bool = True
    webhook: str | None = None
    review: Path | None = None
    review_pictures: int = Field(default=200, ge=1)
    review_days: float = Field(default=30.0, ge=0)
    json_logs: bool = False
    otel: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.webhook is not None:
            parts = urlsplit(self.webhook)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"the webhook {self.webhook} is no http or https address")
        if self.log_private and self.log_thumbnails:
            raise ValueError("a private log keeps no thumbnails: choose one of the two")
        if self.log_private and self.review is not None:
            raise ValueError("the review folder keeps whole pictures: leave it out or log_private")
        return self
