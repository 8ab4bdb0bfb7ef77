"""Tables: what did the paper print, what did ours give, and what would it take to fill the rest?

A *table* has *rows* and *columns*; a *cell* holds the printed number and the specs whose results stand beside it.
TABLES in `build.py` lists the tables; `tableN.py` says what is special in one of them.
"""
