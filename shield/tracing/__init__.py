"""Traces (OpenTelemetry): which requests have spans, their shapes, and the thread that sends them."""
