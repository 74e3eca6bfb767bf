"""Households that hold together: the days of the members of one household, made to fit."""
