"""Two levels: how does CompMod train a network against the optimum of an inner step?

The *inner* step moves the network by its loss and L_mcr; the *outer* loss L_comp is measured after a *virtual* step;
the *hypergradient* is its gradient through that step. The *objective* of a run holds all of it, or the plain loss.
"""
