"""What a study has found: results, the winner, what people are shown."""
