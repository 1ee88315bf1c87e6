"""How trials get into MLflow: the driver writes an outbox, a process of its own sends it."""
