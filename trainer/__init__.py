"""Neural nets in NumPy: arrays in, arrays out. Knows nothing of the sweep around it."""
