"""Training: how does a long training keep its state, stop, go on, and notice that it went wrong?

A *session* is how one process trains; a *checkpoint* is the state that it goes on from; an *interruption* is a signal
that ends it; *collapse* and *divergence* are the two ways to fail.
"""
