# SPDX-License-Identifier: Apache-2.0
"""The signed policy and the pure decision. Reads no YAML, no clock, no database."""
