"""The sweep service: studies of neural-network training, answered with error bars."""
