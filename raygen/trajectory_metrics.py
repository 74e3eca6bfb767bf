"""Measures of generated trajectories against real ones."""
