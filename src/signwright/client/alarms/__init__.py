# SPDX-License-Identifier: Apache-2.0
"""The monitor's alarms: each one small pure function over a leaf and what stood before it, listed in `table`."""
