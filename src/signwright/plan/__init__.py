# SPDX-License-Identifier: Apache-2.0
"""Deep signing: what an artifact configuration wants of the members of a container, and having it done."""
