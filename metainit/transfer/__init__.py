"""Fine-tuning on a whole data set, and the time it takes to a threshold."""
