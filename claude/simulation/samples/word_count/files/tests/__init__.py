"""Tests of Word Count."""
