"""The signal plane: beats, exit notices and orders over ZeroMQ; death watch; verdicts. No Ray here."""
