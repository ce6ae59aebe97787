"""Forecasting: train, backtest, evaluate, predict, export.

python tasks/forecasting.py train                                           # the weather of Seattle
python tasks/forecasting.py train --data sales.csv --data.series store --horizon 28 --out runs/sales
python tasks/forecasting.py backtest runs/starter --plot backtest.png
python tasks/forecasting.py predict runs/starter --plot next.png
"""

import nlp_rnn

nlp_rnn.main("forecasting")
