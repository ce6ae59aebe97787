"""From strings to ids and back: tokenizers and pre-trained vectors."""
