"""Fitting: the loop, what is called during it, checkpoints, devices."""
