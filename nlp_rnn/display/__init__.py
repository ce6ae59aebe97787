"""What is drawn: figures, HTML, and text for terminals."""
