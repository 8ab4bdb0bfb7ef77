"""Commands: how does a command line submit, watch, cancel or retry jobs? Words: digest, table, cluster."""
