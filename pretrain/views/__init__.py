"""Views: which random changes of an image does a method compare?

A *view* is an augmented image; a *batch* holds the views, labels and indices of some samples. Every random number
follows from seed, epoch, sample and view, so that a resumed run makes the same ones.
"""
