"""Commands: how does a command line fine-tune a detector, export a trunk or check this machine?"""
