"""A city on disk: layout, GeoParquet, writing, reading, and the rules that a city keeps."""
