"""Embedded cities: the sources they are built from and the builders."""
