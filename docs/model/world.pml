/* SPDX-License-Identifier: Apache-2.0
 *
 * What exists: statements that somebody has signed, the history that the outside witness has cosigned, and how the
 * invariants are watched. Included by cycle.pml.
 *
 * Nothing is sent. Whatever somebody has signed is at the attacker's hand for ever, to be shown to anybody, at any time,
 * any number of times and in any order (replay, reorder, drop, duplicate). What is missing here the attacker cannot make,
 * because that takes a key it does not have.
 */

/* ── statements ─────────────────────────────────────────────────────────────────────────────────────────────────── */

#define GOOD 0                       /* the request that honest people approve */
#define EVIL 1                       /* the request that no honest person approves */

/* Policy 1 enrols Ann, Mallory and Norman; policy 2 enrols Ann, Bob and Mallory; both want two people. Mallory's key is
 * the attacker's from the start, Norman's from the moment that the keyholder has policy 2: at each moment one enrolled
 * person is hostile. The keepers have signed both policies: who carries them may hold policy 2 back. */
#define ANN1 1                       /* an approval by Ann under policy 1 */
#define BOB2 2
#define NORMAN1 4
byte honest;                         /* which approvals of GOOD exist, chosen at the start; Mallory's always do */
#ifdef TWO_HOSTILE
#define approvals_of(request) (request == GOOD -> honest : ANN1 | (newest_policy == 2 -> NORMAN1 : 0))
#else
#define approvals_of(request) (request == GOOD -> honest : (newest_policy == 2 -> NORMAN1 : 0))
#endif

#define bit(set, n) (((set) >> (n)) & 1)
#define has(set, bits) (((set) & (bits)) != 0)

/* ── leaves ─────────────────────────────────────────────────────────────────────────────────────────────────────── */

#ifndef MAX
#define MAX 5                        /* longest log */
#endif
#ifndef STARTS
#define STARTS 2                     /* most keyholder processes, one after the other */
#endif
#define ATTEMPTS 2                   /* most attempts of one request: orders.MAX_ATTEMPTS, made smaller */

#define START(nonce) (nonce)         /* 1 to 3 */
#define POLICY2 4                    /* the policy leaf of policy 2 */
#define INTENT(request, attempt, policy) (8 + 4 * (request) + 2 * ((attempt) - 1) + (policy) - 1)
#define is_intent(leaf) ((leaf) >= 8)
#define request_of(leaf) (((leaf) >> 2) & 1)
#define attempt_of(leaf) ((((leaf) >> 1) & 1) + 1)
#define policy_of(leaf) (((leaf) & 1) + 1)
/* A second attempt of EVIL would be one more way to be refused. */
inline any_intent(leaf_) {
    if
    :: leaf_ = INTENT(GOOD, 1, 1) :: leaf_ = INTENT(GOOD, 1, 2)
    :: leaf_ = INTENT(GOOD, 2, 1) :: leaf_ = INTENT(GOOD, 2, 2)
    :: leaf_ = INTENT(EVIL, 1, 1) :: leaf_ = INTENT(EVIL, 1, 2)
    fi
}

byte seen[MAX];                      /* what the outside witness has cosigned: one history, which only grows */
byte seen_size;

#if MAX == 4
#define logged(log, leaf) (log[0] == leaf || log[1] == leaf || log[2] == leaf || log[3] == leaf)
#elif MAX == 5
#define logged(log, leaf) (log[0] == leaf || log[1] == leaf || log[2] == leaf || log[3] == leaf || log[4] == leaf)
#endif

/* The keyholder's process: who it is, and 1 + index of its start leaf, 0 before it was shown. */
byte nonce = 1;
byte start;

/* ── the rules that gate and keyholder both run ─────────────────────────────────────────────────────────────────── */

#ifdef NO_CHECK_PEOPLE
#define mallory 2                    /* two keys of one person */
#else
#define mallory 1
#endif
#ifdef NO_CHECK_ENROLLED
#define stranger 1                   /* somebody the policy does not know; anybody can make such a key */
#else
#define stranger 0
#endif
#ifdef NO_CHECK_APPROVAL_REQUEST
#define about(request) (approvals_of(GOOD) | approvals_of(EVIL))
#else
#define about(request) approvals_of(request)
#endif
#ifdef NO_CHECK_APPROVAL_POLICY
#define in_2(set) (has(set, ANN1) + has(set, BOB2))
#else
#define in_2(set) has(set, BOB2)
#endif

/* How many people approved, as policy/facts.py and policy/rules/approvals.py count them from signatures. */
#define in_1(set) (has(set, ANN1) + has(set, NORMAN1))
#define people(set, policy) ((policy == 1 -> in_1(set) : in_2(set)) + mallory + stranger)

#ifdef NO_CHECK_APPROVALS
#define approved(request, policy) true
#else
#define approved(request, policy) (people(about(request), policy) >= 2)
#endif

/* ── invariants ─────────────────────────────────────────────────────────────────────────────────────────────────── */

#define WATCH_I1 1
#define WATCH_I3 2
#define WATCH_I4_LOG 4
#define WATCH_I4_POLICY 8
#define WATCH_I4_INTENT 16
#define WATCH_I4_ATTEMPT 32
#define WATCH_GOAL 64                /* what it is all for: EVIL is not signed */
#define WATCH_SIGNED 128             /* no invariant: the model can sign GOOD, in its last process too */
#ifndef WATCH
#define WATCH 127                    /* -DWATCH=WATCH_I1+WATCH_I3: only these */
#endif

/* The name of the variable is what a report says: "assertion violated I4_LOG". */
bool I1 = true, I3 = true, I4_LOG = true, I4_POLICY = true, I4_INTENT = true, I4_ATTEMPT = true;
bool GOAL = true, SIGNED = true;
#define must(name, fact) if :: ((WATCH) & WATCH_##name) -> name = (fact); assert(name) :: else fi

/* What really happened, which no snapshot takes back. No check of the protocol reads these. */
byte newest_policy = 1;              /* the highest version that a keyholder process ever accepted */
byte newest_log;                     /* the largest checkpoint that one ever accepted */
byte used_intents;                   /* set of log indexes */
byte used_attempts;                  /* set of (request, attempt) */

/* People of the newest policy who signed an approval of this very request under the policy of the order. */
inline really_approved(count_, request_, policy_) {
    if
    :: policy_ == 1 && newest_policy == 1 -> count_ = 1 + has(approvals_of(request_), ANN1) + has(approvals_of(request_), NORMAN1)
    :: policy_ == 1 && newest_policy == 2 -> count_ = 1 + has(approvals_of(request_), ANN1)
    :: else -> count_ = 1 + has(approvals_of(request_), BOB2)
    fi
}
