"""Anomalies: train, evaluate, predict, watch, export.

python tasks/anomaly.py train                                     # logs of a ticket shop that does not exist
python tasks/anomaly.py train --data sessions.jsonl --data.events events --data.session session --out runs/calls
python tasks/anomaly.py train --data cpu.csv --data.time timestamp --data.target value --out runs/cpu
python tasks/anomaly.py predict runs/calls --input today.jsonl --budget 0.01 --output alarms.jsonl
tail -f app.log | python tasks/anomaly.py watch runs/app
"""

import nlp_rnn

nlp_rnn.main("anomaly")
