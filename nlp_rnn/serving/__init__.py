"""Runs and exports behind HTTP, and a client for them."""

from nlp_rnn.serving.client import Client, RemoteError, RemoteModel

__all__ = ["Client", "RemoteError", "RemoteModel"]
