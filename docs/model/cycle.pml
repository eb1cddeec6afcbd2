/* SPDX-License-Identifier: Apache-2.0
 *
 * The signing cycle between requests that people approved and a key. See README.md.
 */

#include "world.pml"
#include "gate.pml"
#include "keyholder.pml"

/* Approvals that come later are approvals that nobody showed before: it is enough to choose at the start which exist. */
init {
    atomic {
#ifdef ALL_APPROVE
        honest = ANN1 | BOB2;
#else
        if :: honest = 0 :: honest = ANN1 :: honest = BOB2 :: honest = ANN1 | BOB2 fi;
#endif
        run Gate();
        run Keyholder()
    }
}
