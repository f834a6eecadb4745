"""Metrics, calibration, intervals and comparisons as pure functions; figures and reports on top."""
