"""The tasks: what they read, build, predict and measure."""
