# SPDX-License-Identifier: Apache-2.0
"""Signed statements: what every decisive fact is written in."""
