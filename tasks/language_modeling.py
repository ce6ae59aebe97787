"""Language modelling: train, evaluate, score, generate, export.

python tasks/language_modeling.py train                                     # the documentation that comes with Python
python tasks/language_modeling.py train --data book.txt --out runs/book
python tasks/language_modeling.py generate runs/starter --prompt "The "
"""

import nlp_rnn

nlp_rnn.main("language-modeling")
