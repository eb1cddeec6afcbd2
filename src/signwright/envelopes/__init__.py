# SPDX-License-Identifier: Apache-2.0
"""How a signature is wrapped: the bytes a key signs, and the structure that carries the result."""
