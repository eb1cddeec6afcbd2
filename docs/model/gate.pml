/* SPDX-License-Identifier: Apache-2.0
 *
 * The gate and its log. Without GATE_HONEST the attacker has the gate's keys: it logs what it likes and orders what it
 * likes, and the outside witness alone holds it to one history.
 */

#ifdef GATE_HONEST

byte own[MAX];                       /* its own log, signed with the log's key */
byte own_size;
byte gate_policy = 1;
byte gate_attempts[2];
byte kept_size, kept_policy, kept_attempts[2];   /* what a snapshot kept; the leaves below kept_size never change */
bool gate_has_snapshot;

/* The gate orders what it has logged. The attacker keeps every order and shows it again whenever it likes. */
#define gate_ordered(leaf, index) ((index < own_size && own[index] == leaf) || (index < seen_size && seen[index] == leaf))

inline append(leaf_) { own[own_size] = leaf_; own_size++ }

/* Each leaf that the gate writes by its own rules: signer/gate/policy.py: accept, signer/gate/cycle.py: _intent. */
inline write_leaf() {
    select(request : GOOD .. EVIL);
    if
    :: own_size < MAX && !logged(own, START(nonce)) ->
        append(START(nonce)); printf("gate: logs start of process %d\n", nonce)
    :: own_size < MAX && gate_policy == 1 ->
        append(POLICY2); gate_policy = 2; printf("gate: logs policy 2\n")
    :: own_size < MAX && gate_attempts[request] < ATTEMPTS && approved(request, gate_policy) ->
        gate_attempts[request]++;
        append(INTENT(request, gate_attempts[request], gate_policy));
        printf("gate: logs intent: request %d attempt %d policy %d\n", request, gate_attempts[request], gate_policy)
    :: else
    fi;
    request = 0
}

/* witness/cosigner.py: the outside witness cosigns what continues its history, and nothing else. */
inline have_cosigned() {
    same = true;
    for (at : 0 .. MAX - 1) {
        if :: at < seen_size && at < own_size && own[at] != seen[at] -> same = false :: else fi
    }
    if
#ifdef NO_CHECK_WITNESS
    :: own_size > 0 ->
        must(I4_LOG, same && own_size >= seen_size);
#else
    :: same && own_size > seen_size ->
#endif
        for (at : 0 .. MAX - 1) { seen[at] = (at < own_size -> own[at] : 0) }
        seen_size = own_size;
        printf("witness: cosigns %d leaves\n", seen_size)
    :: else
    fi;
    at = 0; same = false
}

/* `signwright signer recover`: the log from a mirror, as far as the outside witness has cosigned it, and from its leaves
 * what the gate must not forget. */
inline recover() {
    own_size = seen_size;
    for (at : 0 .. MAX - 1) {
        own[at] = seen[at];
        if
#ifndef NO_CHECK_RECOVER_ATTEMPTS
        :: is_intent(seen[at]) && attempt_of(seen[at]) > gate_attempts[request_of(seen[at])] ->
            gate_attempts[request_of(seen[at])] = attempt_of(seen[at])
#endif
#ifndef NO_CHECK_RECOVER_POLICY
        :: seen[at] == POLICY2 -> gate_policy = 2   /* it waits until somebody brings that policy */
#endif
        :: else
        fi
    }
    at = 0;
    printf("gate: recovers the log of %d leaves\n", own_size)
}

proctype Gate() {
    byte request, at;
    bool same;
    do
    :: atomic { write_leaf() }
    :: atomic { have_cosigned() }
#ifdef RESTORE_GATE
    :: atomic { !gate_has_snapshot ->
        kept_size = own_size; kept_policy = gate_policy; gate_has_snapshot = true;
        kept_attempts[0] = gate_attempts[0]; kept_attempts[1] = gate_attempts[1]; printf("gate: snapshot\n") }
    :: atomic { gate_has_snapshot && own_size > kept_size ->
        for (at : 0 .. MAX - 1) { own[at] = (at < kept_size -> own[at] : 0) }
        own_size = kept_size; gate_policy = kept_policy; at = 0;
        gate_attempts[0] = kept_attempts[0]; gate_attempts[1] = kept_attempts[1]; printf("gate: RESTORED\n") }
    :: atomic { own_size < seen_size -> recover() }
#endif
    od
}

#else

#define gate_ordered(leaf, index) true

/* The attacker signs checkpoints: any leaf can be the next one of the history. */
proctype Gate() {
    byte leaf;
    do
    :: atomic { seen_size < MAX ->
        if
        :: !logged(seen, START(nonce)) -> leaf = START(nonce)
        :: !logged(seen, POLICY2) -> leaf = POLICY2
        :: any_intent(leaf)
        fi;
        seen[seen_size] = leaf; seen_size++;
        printf("gate: has leaf %d cosigned: %d\n", seen_size - 1, leaf);
        leaf = 0 }
    od
}

#endif
