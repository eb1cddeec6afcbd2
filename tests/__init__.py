# SPDX-License-Identifier: Apache-2.0
"""Tests; a package only so that ``tests.support`` can be imported by name."""
