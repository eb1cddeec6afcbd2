# SPDX-License-Identifier: Apache-2.0
"""``signwright bench``: the figures that the project promises, measured here and now. One file per figure."""
