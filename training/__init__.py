"""Fit the models: one file per model, one shared distributed loop."""
