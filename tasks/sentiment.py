"""Sentiment: train, evaluate, predict, explain, export.

python tasks/sentiment.py train                                   # the starter corpus
python tasks/sentiment.py train --data mine.csv --data.text review --data.label stars
python tasks/sentiment.py predict runs/starter "A joyless slog."
"""

import nlp_rnn

nlp_rnn.main("sentiment")
