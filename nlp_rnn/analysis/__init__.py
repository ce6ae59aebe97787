"""What is measured on a trained model: how far back gradients reach."""
