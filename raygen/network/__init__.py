"""Roads: graphs of directed segments read from many formats, and routes on them."""
