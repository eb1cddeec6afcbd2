/* SPDX-License-Identifier: Apache-2.0
 *
 * Time: how long a policy waits that weakens, and how long the attacker can keep a revocation, a recall or a halt from
 * the keyholder. One tick is twelve hours. What is signed and logged is in cycle.pml; here the gate is the attacker's and
 * has an intent logged and cosigned in whatever tick it likes. See README.md.
 */

#define NEVER 0                      /* time begins at 1 */
#define LAST 5
#define FRESH 2                      /* organisation.freshness_hours */
#define DELAY 2                      /* organisation.weakening_delay_hours */

/* Policy 1 is in force and live. Policy 2 is weaker, and not what honest keepers want. Policy 3 is their answer: it is
 * not weaker than 1, and it revokes. The attacker carries all of them and shows them when it likes. */
byte tick = 1;
byte weak_logged;                    /* when the outside witness cosigned the leaf of policy 2 */
byte revoked;                        /* when honest keepers signed policy 3 */
byte halted;                         /* when somebody signed a halt */

/* Freshness statements that exist: when the newest one was signed before the keepers' answer, and the newest one after
 * it, which wants policy 3 and revokes Norman. Older ones serve the attacker less, and so do those that name an open
 * halt: no release is signed on them. */
byte fresh_before, fresh_after;
#define BEFORE 1
#define AFTER 3

/* ── invariants: as in world.pml ────────────────────────────────────────────────────────────────────────────────── */

#define WATCH_I5_REVOKED 1
#define WATCH_I5_HALT 2
#define WATCH_DELAY_KEPT 4
#define WATCH_RECALL 8
#define WATCH_I4_REVOKED 16
#define WATCH_I4_CLOCK 32
#define WATCH_HALT_HEARD 64
#define WATCH_WEAKENED 128           /* no invariant: policy 2 comes into force some time */
#ifndef WATCH
#define WATCH 127                     /* all of them */
#endif
bool I5_REVOKED = true, I5_HALT = true, DELAY_KEPT = true, RECALL = true, I4_REVOKED = true, I4_CLOCK = true, HALT_HEARD = true;
bool WEAKENED = true;
#define must(name, fact) if :: ((WATCH) & WATCH_##name) -> name = (fact); assert(name) :: else fi

byte newest_time;                    /* of all that the keyholder ever accepted */
bool heard;                          /* the keyholder has ever taken the halt */
bool knew;                           /* the keyholder has ever used a key on a freshness statement that revokes Norman */

/* ── the keyholder ──────────────────────────────────────────────────────────────────────────────────────────────── */

typedef Durable {
    byte policy;                     /* in force */
    bool pending;                    /* policy 2 waits */
    bool revoked;                    /* Norman, as the newest freshness statement of an accepted order says */
    byte floor;                      /* memory.clock */
    bool halt;
}
Durable mine, snapshot;
bool has_snapshot;
byte started = 1;                    /* when its start leaf was cosigned: no order from before it counts */
bool read_after;                     /* this process read in the log that there is a statement that revokes */

#define copy_state(to, from) \
    to.policy = from.policy; to.pending = from.pending; to.revoked = from.revoked; \
    to.floor = from.floor; to.halt = from.halt

/* The clock of its host. CLOCK_MOVED: the attacker sets it (a hostile time server); a tick is far more than the five
 * minutes by which clocks may differ. MONOTONIC, proposed: it cannot fall behind the start leaf and the time since. */
inline read_clock() {
#ifdef CLOCK_MOVED
    select(clock : 1 .. LAST);
#else
    clock = tick
#endif
}

#ifdef MONOTONIC
#define not_behind (clock >= tick)
#else
#define not_behind true
#endif

/* Policy 2 is weaker than the one in force, so it waits. Compared with the newest one instead, a copy of it would not. */
inline take_policy() {
    if
    :: mine.policy == 1 && weak_logged != NEVER && !mine.pending -> mine.pending = true; printf("keyholder: policy 2 waits\n")
#ifdef NO_CHECK_WEAKER_THAN_IN_FORCE
    :: mine.policy == 1 && mine.pending -> mine.policy = 2; printf("keyholder: a copy of policy 2 counts at once\n")
#endif
    :: mine.policy < 3 && revoked != NEVER -> mine.policy = 3; mine.pending = false; printf("keyholder: takes policy 3\n")
    :: else
    fi
}

/* What waits comes into force as soon as its time has come by the keyholder's clock, and then wants a freshness statement
 * that was signed after that time: one that still lets it count. */
#ifdef NO_CHECK_DELAY
#define waited true
#else
#define waited (clock >= weak_logged + DELAY)
#endif
#ifdef NO_CHECK_FRESH_AFTER
#define still_wanted true
#else
#define still_wanted (policy != 2 || fresh >= weak_logged + DELAY)
#endif

#ifdef NO_CHECK_FRESH_AGE
#define fresh_enough true
#else
#define fresh_enough (fresh != NEVER && clock < fresh + FRESH)
#endif
#ifdef NO_CHECK_FRESH_MINIMUM
#define new_enough(policy) true
#else
#define new_enough(policy) (policy >= kind)
#endif
#ifdef NO_CHECK_REVOKED
#define not_revoked true
#else
#define not_revoked (kind != AFTER)
#endif
#ifdef NO_CHECK_REVOKED_MEMORY
#define not_known_revoked true
#else
#define not_known_revoked (!mine.revoked)
#endif
#ifdef NO_CHECK_HALT
#define may_go true
#else
#define may_go (!mine.halt)
#endif
#ifdef NO_CHECK_TIME
#define same_time true
#else
#define same_time (clock == cosigned)
#endif
#ifdef NO_CHECK_FLOOR
#define not_back true
#else
#define not_back (clock >= mine.floor)
#endif

/* At its start the keyholder reads the log. GATE_LOGS: the gate became hostile only now, so halts and freshness statements
 * that it had before are there. A gate that was hostile all along has logged neither. */
inline catch_up() {
#if defined(GATE_LOGS) && !defined(NO_CHECK_CATCH_UP)
    mine.halt = heard; read_after = knew
#else
    skip
#endif
}
#define not_older_than_read (!read_after || kind == AFTER || fresh > started)

/* An order with a freshness statement, with or without Norman's approval, under a checkpoint that was cosigned at any
 * time since the start leaf: an old one may have been kept for later. */
inline take_order() {
    read_clock();
    select(cosigned : 1 .. LAST);
    if :: kind = BEFORE; fresh = fresh_before :: kind = AFTER; fresh = fresh_after fi;
    if :: norman = true :: norman = false fi;
    policy = (mine.policy == 1 && mine.pending && waited -> 2 : mine.policy);
    if
    :: cosigned >= started && cosigned <= tick && same_time && not_back && not_behind && fresh_enough && still_wanted &&
       not_older_than_read && new_enough(policy) && (!norman || (not_revoked && not_known_revoked)) && may_go ->
        mine.floor = (clock > mine.floor -> clock : mine.floor);
        if :: kind == AFTER -> mine.revoked = true; knew = true :: else fi;
        if :: policy == 2 -> mine.policy = 2; mine.pending = false :: else fi;
        printf("KEY USED at %d (its clock: %d) under policy %d, Norman approves: %d\n", tick, clock, policy, norman);
        must(I5_REVOKED, revoked == NEVER || (policy == 3 && !norman) || tick < revoked + FRESH);
        must(I5_HALT, halted == NEVER || tick < halted + FRESH);
        must(HALT_HEARD, !heard);
        must(DELAY_KEPT, policy != 2 || tick >= weak_logged + DELAY);
        must(WEAKENED, policy != 2);
        must(RECALL, policy != 2 || revoked == NEVER || revoked >= weak_logged + DELAY);
        must(I4_REVOKED, !norman || !knew);
        must(I4_CLOCK, clock >= newest_time);
        newest_time = (clock > newest_time -> clock : newest_time)
    :: else
    fi;
    clock = 0; cosigned = 0; policy = 0; kind = 0; fresh = 0; norman = false
}

proctype Keyholder() {
    byte clock, cosigned, policy, kind, fresh;
    bool norman;
    do
    :: atomic { take_policy() }
    :: atomic { halted != NEVER && !mine.halt -> mine.halt = true; heard = true; printf("keyholder: takes the halt\n") }
    :: atomic { take_order() }
#ifdef RESTORE_KEYHOLDER
    :: atomic { !has_snapshot -> copy_state(snapshot, mine); has_snapshot = true; printf("keyholder: snapshot\n") }
    :: atomic { has_snapshot && started < tick -> copy_state(mine, snapshot); started = tick; mine.floor = tick;
        catch_up(); printf("keyholder: RESTORED\n") }
#endif
    od
}

/* Time goes on; keepers, panic keys and freshness keys are honest. Whoever signs freshness knows of a halt before anybody
 * can keep it back, and names it until it is over: by their own notes, by the log, or told by who halted, who sees that
 * the log does not have it. Two people have freshness keys: who revokes sees that the log does not have it, and tells the
 * other; who renews sees in the log that somebody else did before. NO_CHECK_OWN_LEAF: one knows only what the hub shows. */
#if defined(NO_CHECK_HALT_NAMED) || defined(NO_CHECK_HALT_KNOWN)
#define goes_on true                 /* no rule minds the name, or nobody looks beyond the hub */
#else
#define goes_on (halted == NEVER)
#endif
#ifdef NO_CHECK_OWN_LEAF
#define not_answered true
#else
#define not_answered (revoked == NEVER)
#endif

proctype People() {
    do
    :: atomic { tick < LAST -> tick++; printf("-- %d\n", tick) }
    :: atomic { weak_logged == NEVER -> weak_logged = tick; printf("policy 2 is logged and cosigned\n") }
    :: atomic { revoked == NEVER -> revoked = tick; printf("keepers sign policy 3\n") }
    :: atomic { ((WATCH) & (WATCH_I5_HALT + WATCH_HALT_HEARD)) && halted == NEVER -> halted = tick; printf("somebody halts\n") }
    :: atomic { not_answered && fresh_before != tick && goes_on -> fresh_before = tick; printf("freshness\n") }
    :: atomic { revoked != NEVER && fresh_after != tick && goes_on -> fresh_after = tick;
        printf("freshness, which revokes\n") }
    od
}

init {
    atomic { mine.policy = 1; run People(); run Keyholder() }
}
