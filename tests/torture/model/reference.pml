/* SPDX-License-Identifier: MIT */
/*
 * One place of a pool and the references to it: a generation, counted up by each grant, and a bit
 * for each session slot that holds what lies there. The daemon may die between any two stores; what
 * it was doing then ends there, and the next daemon goes on with what it finds. A process may close
 * its connection and live on, and writes through its mapping as long as it lives.
 *
 * What must hold: who writes to the place holds what lies there, and it is what was granted or
 * acquired; what nobody held any more is never held again; when all are dead, the place is free.
 *
 * Each TRAP_… makes a mistake that looks harmless. With it, spin must find an error.
 */
#define SLOTS     2
#define PROCESSES 3
#define LAST      3 /* generation; then nothing is granted any more */

#define NOBODY PROCESSES

byte generation = 0;
bit holds[SLOTS];
byte owner[SLOTS];        /* the process that the slot is given to, or NOBODY */
byte board = 0;           /* the ticket that was told to all */
bit over[LAST + 1];       /* generations that nobody holds any more */
bit alive[PROCESSES];
bit connected[PROCESSES];
byte slot[PROCESSES];
byte believes[PROCESSES]; /* the generation that it has, as far as it knows; 0: none */
bit is_free = 1;             /* for the trap */

#define IS_HELD (holds[0] || holds[1])
#ifdef TRAP_FREE_IS_AN_ACT
#define IS_FREE is_free
#else
#define IS_FREE (!IS_HELD)
#endif

#ifdef TRAP_SLOT_AT_END_OF_FILE
#define IS_GONE(p) (!connected[p])
#else
#define IS_GONE(p) (!alive[p])
#endif

/* The committing store of a grant or an acquire, and its answer. */
inline hold(p, ticket)
{
    holds[slot[p]] = 1;
    is_free = 0;
    believes[p] = ticket;
    assert(!over[generation])
}

/* That of a release. */
inline drop(s)
{
    holds[s] = 0;
    if
    :: !IS_HELD ->
        over[generation] = 1;
        if
        :: is_free = 1
        :: skip /* the daemon dies before that */
        fi
    :: else
    fi
}

inline grant(p)
{
#ifdef TRAP_GENERATION_AFTER_THE_COMMIT
    hold(p, generation);
    if
    :: generation++;
       believes[p] = generation
    :: skip /* the daemon dies before that */
    fi;
    board = generation
#else
    generation++;
    if
    :: hold(p, generation);
       board = generation
    :: skip /* the daemon dies before that: the number is used up, the place still free */
    fi
#endif
}

#if defined(TRAP_GENERATION_IS_NOT_COMPARED)
#define MAY_ACQUIRE(ticket) (!IS_FREE)
#elif defined(TRAP_ACQUIRE_OF_WHAT_IS_FREE)
#define MAY_ACQUIRE(ticket) (ticket == generation)
#else
#define MAY_ACQUIRE(ticket) (!IS_FREE && ticket == generation)
#endif

proctype process(byte p)
{
    byte ticket = 0;

    atomic {
        if
        :: owner[0] == NOBODY -> slot[p] = 0
        :: owner[1] == NOBODY -> slot[p] = 1
        fi;
        owner[slot[p]] = p;
        connected[p] = 1
    };
    do
    :: atomic { connected[p] && !believes[p] && IS_FREE && generation < LAST -> grant(p) }
    :: atomic { connected[p] && board && ticket != board -> ticket = board }
    :: atomic { connected[p] && !believes[p] && ticket && MAY_ACQUIRE(ticket) -> hold(p, ticket) }
    :: atomic { connected[p] && believes[p] -> believes[p] = 0; drop(slot[p]) }
    :: atomic { believes[p] ->
           assert(believes[p] == generation && holds[slot[p]] && owner[slot[p]] == p) }
    :: atomic { connected[p] -> connected[p] = 0 }
    :: atomic { alive[p] = 0; connected[p] = 0; believes[p] = 0; break }
    od
}

/* Two steps, between which the daemon may die: the next one takes the second. */
inline sweep(s)
{
#ifdef TRAP_SLOT_BEFORE_ITS_REFERENCES
    atomic { owner[s] != NOBODY && IS_GONE(owner[s]) -> owner[s] = NOBODY };
    atomic { if :: holds[s] -> drop(s) :: else fi }
#else
    atomic { owner[s] != NOBODY && IS_GONE(owner[s]) -> if :: holds[s] -> drop(s) :: else fi };
    owner[s] = NOBODY
#endif
}

proctype daemon()
{
    do
    :: sweep(0)
    :: sweep(1)
    :: timeout -> break
    od;
    assert(IS_FREE && !IS_HELD)
}

init {
    byte i;

    atomic {
        for (i : 0 .. SLOTS - 1) { owner[i] = NOBODY }
        for (i : 0 .. PROCESSES - 1) { alive[i] = 1; run process(i) }
        run daemon()
    }
}
