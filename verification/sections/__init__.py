"""What is verified, one module per section: each has a TITLE and `run(level, device, progress) -> findings`."""
