"""Few-shot episodes: adaptation, heads in closed form, metrics and intervals."""
