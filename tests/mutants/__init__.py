# SPDX-License-Identifier: Apache-2.0
"""Is each check between a request and a key held by a test? `python -m tests.mutants` takes them away one by one."""
