# SPDX-License-Identifier: Apache-2.0
"""One file per resource. Handlers take the request apart, call one verb of the workflow, and write the answer."""
