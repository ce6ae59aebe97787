"""Models for serving."""
