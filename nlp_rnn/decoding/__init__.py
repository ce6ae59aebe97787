"""From a model's logits to sequences."""
