# SPDX-License-Identifier: Apache-2.0
"""Signwright: code signing with keys nobody can carry away."""

__version__ = "0.1.0"
