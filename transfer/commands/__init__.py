"""Commands: what does a user type to fine-tune a detector, to export a trunk and to check this machine?"""
