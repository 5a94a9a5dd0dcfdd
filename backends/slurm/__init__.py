"""Executors as jobs of a Slurm cluster; the host says where its commands run."""
