"""The stages of generation: pure functions from Arrow tables to Arrow tables."""
