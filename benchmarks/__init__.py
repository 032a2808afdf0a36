"""What things cost: `python -m benchmarks` (`__main__`), and a script a question."""
