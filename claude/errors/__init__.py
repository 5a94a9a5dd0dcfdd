"""What providers, networks and AWS complain of, as errors of the project."""
