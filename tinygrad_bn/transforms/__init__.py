"""Transforms: functions of functions. Derivatives of any order, traces, checkpoints, own rules."""
