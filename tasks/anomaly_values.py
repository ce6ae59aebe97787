"""Anomalies in values over time: train, evaluate, predict, watch, export. `anomaly.py` takes their runs and options.

python tasks/anomaly_values.py train                               # load and requests of a shop that does not exist
python tasks/anomaly_values.py train --data cpu.csv --data.time timestamp --data.target value --out runs/cpu
python tasks/anomaly_values.py predict runs/cpu --input today.csv --output scores.csv
tail -f load.csv | python tasks/anomaly_values.py watch runs/cpu --state cpu.npz
"""

import nlp_rnn

nlp_rnn.main("anomaly-values")
