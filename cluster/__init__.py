"""Run on many machines: connection, sizing, job submission."""
