"""Executors on AWS ParallelCluster: Slurm on a head node, reached over SSH."""
