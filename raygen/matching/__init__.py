"""Map matching: from GPS points to the segments that were driven."""
