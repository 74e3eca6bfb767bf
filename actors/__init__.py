"""Run the stages: one thin Ray actor per stage, one pipeline."""
