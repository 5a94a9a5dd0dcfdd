"""Tests of Todo List."""
