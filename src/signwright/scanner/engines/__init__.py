# SPDX-License-Identifier: Apache-2.0
"""What looks for malware: one file for each engine."""
