/* SPDX-License-Identifier: Apache-2.0
 *
 * The keyholder: honest, and it believes nobody. Whoever talks to it is the attacker, who shows it whatever exists.
 * Each check has the switch that takes it away; the table in README.md says which function of the code it stands for.
 */

/* The durable state (signer/keyholder/state.py) and what a snapshot mine of it. */
typedef Durable {
    byte policy;                     /* newest version */
    byte log;                        /* size of the newest checkpoint; its root is that of the one cosigned history */
    byte claimed;                    /* set of log indexes */
    byte attempts[2];                /* by request: the highest one claimed */
    byte must_have;                  /* highest policy version that a leaf has told of ... */
    byte read;                       /* ... below this index */
}
Durable mine, snapshot;
bool has_snapshot;
#ifdef RESTORE_MEMORY
byte snapshot_start, snapshot_nonce;
#endif

/* The memory of one process: gone with it. `nonce` and `start` are in world.pml. */

#define copy_state(to, from) \
    to.policy = from.policy; to.log = from.log; to.claimed = from.claimed; to.must_have = from.must_have; \
    to.read = from.read; \
    to.attempts[0] = from.attempts[0]; to.attempts[1] = from.attempts[1]

inline new_process() {
    nonce++; start = 0
}

/* A checkpoint was believed: memory goes forward, and the watcher notes it. */
inline believe_checkpoint(size) {
    must(I4_LOG, size >= newest_log);
    if :: size > newest_log -> newest_log = size :: else fi;
    if :: size > mine.log -> mine.log = size :: else fi
}

/* A leaf is proved: it stands at `index` under a checkpoint of `size` that a quorum has cosigned. The local witness is
 * the attacker's, so what counts is the outside one. Without these checks anything the attacker writes is a proof. */
#ifdef NO_CHECK_QUORUM
#define proved(leaf, index, size) (index < size)
#else
#ifdef NO_CHECK_INCLUSION
#define proved(leaf, index, size) (size <= seen_size)
#else
#define proved(leaf, index, size) (index < size && size <= seen_size && seen[index] == leaf)
#endif
#endif

#ifdef NO_CHECK_LOG_MEMORY
#define log_continues(size) true
#else
#define log_continues(size) (size >= mine.log)
#endif

/* The keyholder reads each leaf up to its start leaf, once. What a snapshot made it forget it learns again from the one
 * history that the outside witness has cosigned. It goes on where it last read, not at its memory of the log: that one
 * jumps with each order over leaves that nobody showed it. policy/reading.py. */
inline read_the_gap() {
#ifdef NO_CHECK_READ_PLACE
    if :: mine.read < mine.log -> mine.read = mine.log :: else fi;
#endif
#ifndef NO_CHECK_CATCH_UP
    do
    :: mine.read <= index ->
        leaf = seen[mine.read];
        if
        :: is_intent(leaf) && attempt_of(leaf) > mine.attempts[request_of(leaf)] ->
            mine.attempts[request_of(leaf)] = attempt_of(leaf)
        :: leaf == POLICY2 -> mine.must_have = 2
        :: else
        fi;
        mine.read++
    :: else -> break
    od
#else
    skip
#endif
}

/* The start leaf of this very process. Nobody knows a nonce before its process lives. */
inline take_start() {
#ifdef NO_CHECK_NONCE
    select(index : 0 .. MAX - 1); leaf = seen[index];
#else
    select(index : 0 .. MAX - 1); leaf = START(nonce);
#endif
    select(size : 1 .. MAX);
    if
    :: start == 0 && leaf > 0 && leaf <= nonce && index < size && size <= seen_size && seen[index] == leaf &&
       log_continues(size) ->
        read_the_gap();
        start = index + 1;
        believe_checkpoint(size);
        printf("keyholder: process %d takes start leaf %d under a checkpoint of %d\n", nonce, index, size)
    :: else
    fi
}

/* A policy: signed by the keepers, higher than every one before, its leaf proved. */
inline take_policy() {
    select(version : 1 .. 2);
    select(index : 0 .. MAX - 1);
    if
#ifdef NO_CHECK_POLICY_VERSION
    :: version == 1 && mine.policy == 2 -> mine.policy = 1; printf("keyholder: takes policy 1 again\n")
#endif
#ifdef NO_CHECK_POLICY_LEAF
    :: version == 2 && mine.policy < 2 ->
#else
    :: version == 2 && mine.policy < 2 && index < seen_size && seen[index] == POLICY2 ->
#endif
        mine.policy = 2; newest_policy = 2;
        must(I3, index < seen_size && seen[index] == POLICY2);
        printf("keyholder: takes policy 2\n")
    :: else
    fi
}

#ifdef NO_CHECK_START
#define after_start(index) true
#else
#define after_start(index) (start != 0 && index >= start)
#endif

#ifdef NO_CHECK_INTENT_USED
#define unused(index) true
#else
#define unused(index) (!bit(mine.claimed, index))
#endif

#ifdef NO_CHECK_ATTEMPT
#define next_attempt(request, leaf) true
#else
#define next_attempt(request, leaf) (attempt_of(leaf) > mine.attempts[request])
#endif

/* front.py: _redeem. Here the key is used, and here the invariants are watched. */
inline use_key() {
    really_approved(count, request, policy_of(leaf));
    printf("KEY USED: request %d attempt %d policy %d leaf %d\n", request, attempt_of(leaf), policy_of(leaf), index);
    must(I1, count >= 2);
    must(GOAL, request != EVIL);
    must(SIGNED, request != GOOD || nonce < STARTS);
    must(I3, index < seen_size && seen[index] == INTENT(request, attempt_of(leaf), policy_of(leaf)));
    must(I4_INTENT, !bit(used_intents, index));
    must(I4_ATTEMPT, !bit(used_attempts, 2 * request + attempt_of(leaf) - 1));
    used_intents = used_intents | (1 << index);
    used_attempts = used_attempts | (1 << (2 * request + attempt_of(leaf) - 1))
}

/* state.py: claim and commit. It is durable before a key is touched, so a crash costs a signature and no more. */
inline claim() {
    mine.claimed = mine.claimed | (1 << order_index);
    if
    :: attempt_of(leaf) > mine.attempts[order_request] -> mine.attempts[order_request] = attempt_of(leaf)
    :: else
    fi
}

inline claim_and_use() {
    if
#ifdef NO_CHECK_DURABLE
    :: nonce < STARTS -> use_key(); new_process(); printf("keyholder: dies before its claim is durable\n")
#endif
    :: claim(); use_key()
    :: nonce < STARTS -> claim(); new_process(); printf("keyholder: dies before it uses the key\n")
    fi
}

/* An order: leaf, its index, a checkpoint, the request with its approvals. policy/orders.py: check_order. */
inline take_order() {
    select(index : 0 .. MAX - 1);
    select(size : 1 .. MAX);
#if defined(NO_CHECK_QUORUM) || defined(NO_CHECK_INCLUSION)
    any_intent(leaf);
#else
    leaf = seen[index];
#endif
    request = request_of(leaf);
#ifdef NO_CHECK_INTENT
    select(request : GOOD .. EVIL);  /* the leaf is about something else */
#endif
    order_index = index;
#ifdef NO_CHECK_PROOF_INDEX
    select(order_index : 0 .. MAX - 1);  /* the order names another index than the proof */
#endif
    order_request = request;
#ifdef NO_CHECK_ORDER_REQUEST
    select(order_request : GOOD .. EVIL);  /* the order names another request than the one attached */
#endif
    if
    :: is_intent(leaf) &&
       gate_ordered(leaf, index) &&
       policy_of(leaf) == mine.policy && mine.policy >= mine.must_have &&
       approved(request, policy_of(leaf)) &&
       proved(leaf, index, size) &&
       log_continues(size) &&
       after_start(order_index) &&
       unused(order_index) &&
       next_attempt(order_request, leaf) ->
        must(I4_POLICY, policy_of(leaf) >= newest_policy);
        believe_checkpoint(size);
        claim_and_use()
    :: else
    fi
}

/* Choices of one step are no state. */
inline forget() {
    leaf = 0; index = 0; size = 0; request = 0; order_index = 0; order_request = 0; version = 0; count = 0
}

proctype Keyholder() {
    byte leaf, index, size, request, order_index, order_request, version, count;
    mine.policy = 1; mine.must_have = 1;
    do
    :: atomic { take_start(); forget() }
    :: atomic { take_policy(); forget() }
    :: atomic { take_order(); forget() }
    :: atomic { nonce < STARTS -> new_process(); printf("keyholder: process %d begins\n", nonce) }
#ifdef RESTORE_KEYHOLDER
    :: atomic { !has_snapshot -> copy_state(snapshot, mine); has_snapshot = true; printf("keyholder: snapshot\n") }
    :: atomic { has_snapshot && nonce < STARTS -> copy_state(mine, snapshot); new_process();
        printf("keyholder: RESTORED, process %d begins\n", nonce) }
#endif
#ifdef RESTORE_MEMORY                /* of the whole machine, with the memory of the process that ran on it */
    :: atomic { !has_snapshot -> copy_state(snapshot, mine); has_snapshot = true; snapshot_start = start;
        snapshot_nonce = nonce; printf("machine: snapshot\n") }
    :: atomic { has_snapshot -> copy_state(mine, snapshot); start = snapshot_start; nonce = snapshot_nonce;
        printf("machine: RESTORED\n") }
#endif
    od
}
