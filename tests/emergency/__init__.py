"""Tests of emergency exports."""
