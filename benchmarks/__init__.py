"""The same work against the peers, side by side."""
