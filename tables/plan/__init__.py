"""Plan: what do tables still lack, in which order is it run, and how much time and disk does it cost?

A *step* is one pretraining or one measurement that has not finished. A *rate* is how much work a machine does in a
second: measured, where records of finished runs say it, else a default.
"""
