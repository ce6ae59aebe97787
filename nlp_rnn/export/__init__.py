"""Models for serving."""

EXTRA = "assets.extra"
"""The folder of an export where TensorFlow Serving looks for further files."""
DESCRIPTION = "signature.json"
"""The file in it that says what each signature takes and gives."""
