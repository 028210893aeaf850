"""A line for each request, and lines of the log as JSON objects."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any

from whatwhere.serve.events import Served

ACCESS = "whatwhere.access"
"""Name of the logger that gets a line for each request; silent unless its level is INFO."""

_LOG = logging.getLogger(ACCESS)


def notes_requests() -> bool:
    """Whether requests have lines at all."""
    return _LOG.isEnabledFor(logging.INFO)


def note_request(served: Served, *, private: bool = False) -> None:
    """Write the line of a request.

    Args:
        served: its first picture, or its refusal.
        private: leave out the client's name and the words of an error.
    """
    if not notes_requests():
        return
    fields: dict[str, Any] = {
        "request_id": served.request_id,
        "route": served.route,
        "status": served.status,
        "model": served.model,
        "version": served.version,
        "request_seconds": round(served.request_seconds, 6),
        "queue_seconds": round(served.queue_seconds, 6),
        "inference_seconds": round(served.inference_seconds, 6),
        "batch": served.batch,
        "objects": None if served.prediction is None else len(served.prediction),
    }
    if not private:
        fields |= {"client": served.client, "error": served.error}
    _LOG.info(
        "%s %s %d",
        served.request_id,
        served.route or "-",
        served.status,
        extra={"fields": fields},
    )


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, RFC 3339), level, logger, message, and `fields`.

    Line breaks inside of a message are escaped, so nobody can forge a line.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line |= fields
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def json_logs() -> None:
    """Write all lines of this process as JSON, those of requests included."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter())
    _LOG.setLevel(logging.INFO)
