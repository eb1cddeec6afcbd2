# SPDX-License-Identifier: Apache-2.0
"""What tests share: outside tools, free ports, child processes ended by pid."""
