# SPDX-License-Identifier: Apache-2.0
"""HTTP: signatures at the door, one file per resource, errors as problem documents."""
