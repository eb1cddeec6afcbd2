# SPDX-License-Identifier: Apache-2.0
"""Independent readers: they share no code with the writers in `formats` and `envelopes`."""
