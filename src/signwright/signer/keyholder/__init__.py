# SPDX-License-Identifier: Apache-2.0
"""The keyholder: checks an order against its own pinned policy, builds the bytes, signs. Nobody imports it."""
