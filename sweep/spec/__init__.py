"""What a study file says: its text, its fields, its search space."""
