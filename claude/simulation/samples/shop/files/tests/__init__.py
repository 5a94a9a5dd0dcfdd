"""Tests of Shop."""
