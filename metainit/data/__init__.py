"""Images in memory: sources, episodes and batches drawn from them, overlaps."""
