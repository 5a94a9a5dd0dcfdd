"""The command line: options, help, doctor, signals."""
