# SPDX-License-Identifier: Apache-2.0
"""One file per kind of rule: a function from policy, signing policy and facts to reasons. The table is in
`policy.decide`.
"""
