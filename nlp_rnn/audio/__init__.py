"""Sound: files and arrays → samples → frames, in the graph where a model needs them."""
