# SPDX-License-Identifier: Apache-2.0
"""The story of a request, one verb per file. Everything runs inside one transaction that `ports.Records` stands for."""
