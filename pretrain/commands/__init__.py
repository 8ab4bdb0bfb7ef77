"""Commands: how does a command line become a pretraining, an evaluation or a list? Words: command, option, usage."""
