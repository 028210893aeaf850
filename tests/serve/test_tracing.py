"""Spans of what was served, through OpenTelemetry's own in-memory exporter."""

from __future__ import annotations

import pytest

from served import made_up
from whatwhere.serve.monitoring.tracing import Tracer

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_request_is_a_span_with_queue_and_inference_inside() -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, reader = InMemorySpanExporter(), InMemoryMetricReader()
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(kept))
    tracer = Tracer(traces, MeterProvider([reader]))
    tracer.trace(made_up(traceparent=f"00-{TRACE}-b7ad6b7169203331-01"))
    tracer.trace(made_up(prediction=None, batch=0, status=503, traceparent="nonsense"))
    tracer.close()
    queue, inference, request, refused = kept.get_finished_spans()
    assert (queue.name, inference.name, request.name) == (
        "queue",
        "inference",
        "whatwhere /predict",
    )
    assert f"{request.context.trace_id:032x}" == TRACE
    assert queue.parent.span_id == inference.parent.span_id == request.context.span_id
    assert request.start_time == 1_800_000_000 * 10**9
    assert request.end_time - request.start_time == pytest.approx(0.03e9, rel=1e-6)
    assert request.start_time <= queue.start_time <= queue.end_time == inference.start_time
    assert inference.end_time <= request.end_time
    assert request.attributes["whatwhere.model"] == "cells"
    assert refused.status.status_code.name == "ERROR"
    assert refused.parent is None
    data = reader.get_metrics_data()
    names = {one.name for one in data.resource_metrics[0].scope_metrics[0].metrics}
    assert names == {"http.server.request.duration", "whatwhere.inference.duration"}


def test_without_an_endpoint_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    tracer = Tracer()
    assert tracer._own == []
    tracer.trace(made_up())
    tracer.close()
