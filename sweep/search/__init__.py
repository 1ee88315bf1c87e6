"""Which trials there are: their life, who chooses them, and where they are remembered."""
