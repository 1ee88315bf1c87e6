"""Trainers of one's own, and studies that sweep them."""
