"""What is proven of a delivered project: its checks and criteria, run in a sandbox."""
