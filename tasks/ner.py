"""Named entity recognition: train, evaluate, predict, export.

python tasks/ner.py train                                         # the starter corpus
python tasks/ner.py train --data mine.conll                       # or JSON lines with text and entities
python tasks/ner.py predict runs/starter "Ada Lovelace met Charles Babbage in London."
"""

import nlp_rnn

nlp_rnn.main("ner")
