"""One linear function for each experiment and each command."""
