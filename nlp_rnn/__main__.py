"""`python -m nlp_rnn`: the same as `nlp-rnn`."""

from nlp_rnn.cli import main

main()
