"""Measurements. Timings stand here, never in a test."""
