"""Parts: which pieces do several methods share?

A *regulariser* is a network and losses of its own beside a method's, trained on two levels; the *coding rate* measures
how much space embeddings fill; a *target network* is a moving average of the trained one.
"""
