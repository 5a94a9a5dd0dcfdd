"""Executors as jobs of AWS Batch, with a bucket between here and there."""
