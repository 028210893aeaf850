"""Traces and figures for OpenTelemetry (extra `otel`)."""

from __future__ import annotations

import os
from typing import Any

from whatwhere import __version__
from whatwhere.errors import MissingExtraError
from whatwhere.serve.events import Served

_NANO = 1_000_000_000


class Tracer:
    """Makes spans of what was served, after it was: a request, and in it queue and inference.

    Providers that the embedding program has set are used. Otherwise they are set up as
    OpenTelemetry's environment variables say (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME,
    OTEL_TRACES_SAMPLER, ...); without an endpoint nothing is sent anywhere.

    Args:
        traces, metrics: providers to use instead, for programs that hold several.

    Raises:
        MissingExtraError: the packages are not installed.
    """

    def __init__(self, traces: Any = None, metrics: Any = None) -> None:
        try:
            from opentelemetry import metrics as metric_api
            from opentelemetry import trace as trace_api
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise MissingExtraError("otel", "Sending traces") from error
        self._own: list[Any] = []
        if traces is None and metrics is None:
            traces, metrics, self._own = _providers()
        self._api = trace_api
        self._read = TraceContextTextMapPropagator()
        self._tracer = trace_api.get_tracer("whatwhere", __version__, traces)
        meter = metric_api.get_meter("whatwhere", __version__, metrics)
        self._seconds = meter.create_histogram(
            "http.server.request.duration", "s", "From a request's first byte to its answer."
        )
        self._inference = meter.create_histogram(
            "whatwhere.inference.duration", "s", "In the model, a picture's share of its batch."
        )

    def trace(self, served: Served) -> None:
        """Make the spans and figures of an answer or refusal."""
        about = {"whatwhere.model": served.model, "whatwhere.version": served.version}
        http: dict[str, str | int] = {
            "http.route": served.route,
            "http.response.status_code": served.status,
        }
        if served.place == 0:
            self._seconds.record(served.request_seconds, {**about, **http})
        if served.prediction is not None:
            self._inference.record(served.inference_seconds, about)
        start = int(served.time * _NANO)
        end = start + int(served.request_seconds * _NANO)
        carrier = {} if served.traceparent is None else {"traceparent": served.traceparent}
        span = self._tracer.start_span(
            f"whatwhere {served.route or 'request'}",
            context=self._read.extract(carrier),
            kind=self._api.SpanKind.SERVER,
            start_time=start,
            attributes={
                **about,
                **http,
                "whatwhere.request_id": served.request_id,
                "whatwhere.place": served.place,
                "whatwhere.batch": served.batch,
            },
        )
        if served.status >= 500:
            span.set_status(self._api.StatusCode.ERROR)
        if served.batch:
            inside = self._api.set_span_in_context(span)
            # Seconds are of this machine's steady clock; only their lengths are exact.
            begun = max(start, end - int((served.queue_seconds + served.inference_seconds) * _NANO))
            middle = begun + int(served.queue_seconds * _NANO)
            for name, first, last in (
                ("queue", begun, middle),
                ("inference", middle, middle + int(served.inference_seconds * _NANO)),
            ):
                child = self._tracer.start_span(name, context=inside, start_time=first)
                child.end(last)
        span.end(end)

    def close(self) -> None:
        """Send what is held, if the providers are our own."""
        for provider in self._own:
            provider.shutdown()


def _providers() -> tuple[Any, Any, list[Any]]:
    """Those that are set, or new ones with an OTLP exporter if an endpoint is named."""
    from opentelemetry import metrics, trace

    wanted = any(
        os.environ.get(name)
        for name in (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        )
    )
    if not wanted:
        return trace.get_tracer_provider(), metrics.get_meter_provider(), []
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise MissingExtraError("otel", "Sending traces") from error
    spans = TracerProvider()
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    figures = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
    return spans, figures, [spans, figures]
