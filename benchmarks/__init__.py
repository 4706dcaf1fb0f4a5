"""What a training step costs beside the peers that a user would pick instead: `python -m benchmarks --help`."""
