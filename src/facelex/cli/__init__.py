"""The command line: one small file a verb, loaded when called."""
