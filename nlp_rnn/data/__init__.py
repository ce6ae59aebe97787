"""From any source to records, and from token ids to batches."""
