"""Calls of AWS and bundles in S3, for this program and for its workers."""
