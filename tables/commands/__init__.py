"""Commands: how does a command line fill, print, plan or judge tables? Words: number, scale, seeds, copies."""
