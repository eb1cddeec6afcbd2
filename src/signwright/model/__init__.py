# SPDX-License-Identifier: Apache-2.0
"""The nouns: digests, times, views, patches, operations. No I/O of their own, no clock."""
