"""Synthesis of households and persons from the controls of each zone."""
