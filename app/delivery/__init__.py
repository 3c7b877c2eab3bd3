"""The way out: results to the destinations, studies to a node."""
