"""Translation: train, evaluate, predict, score, export.

python tasks/translation.py train                                     # phrases of Unicode's CLDR, English to German
python tasks/translation.py train --data.train a.en a.de --out runs/mine
python tasks/translation.py predict runs/starter "in 12 days" --beam 8 --n-best 3 --plot -
"""

import nlp_rnn

nlp_rnn.main("translation")
