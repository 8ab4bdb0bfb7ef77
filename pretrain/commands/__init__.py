"""Commands: what does a user type to pretrain, evaluate and look at methods and data?

An *option* is a parameter of a command. A command is a function; its parameters become its options, read by tyro.
"""

MOVES_NO_NUMBER = "reads command lines"
