"""Networks: which layers lie between the pixels of a view and its embedding?

The *trunk* (`backbone` in code and options) is kept after training and gives *representations*; a *head* is what lies
on it, such as the projector. The *encoder* is the trunk of a finished run, as its file has it.
"""
