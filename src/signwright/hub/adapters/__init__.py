# SPDX-License-Identifier: Apache-2.0
"""What keeps the promises of `signwright.hub.workflow.ports`: database, artifact store, scanner socket."""
