"""Speech: train, evaluate, predict, listen, export.

python tasks/speech.py train                                          # digits that eSpeak NG speaks
python tasks/speech.py train --data recordings.csv --out runs/calls   # a table with the columns audio and text
python tasks/speech.py predict runs/starter *.wav
arecord -f S16_LE -r 16000 -t raw | python tasks/speech.py listen runs/calls - --rate 16000
"""

import nlp_rnn

nlp_rnn.main("speech")
