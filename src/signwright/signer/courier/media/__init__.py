# SPDX-License-Identifier: Apache-2.0
"""The courier of an air gap: the same work, on media that people carry."""
