# SPDX-License-Identifier: Apache-2.0
"""Measurements: ratios of interleaved runs, never absolute times of one machine."""
