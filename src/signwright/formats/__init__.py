# SPDX-License-Identifier: Apache-2.0
"""Where each kind of file keeps its signature. Pure: no key, no network, no clock."""
