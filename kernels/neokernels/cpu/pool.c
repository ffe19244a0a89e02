/* A step of a small model is hundreds of operations of a few microseconds. Waking a sleeping thread costs more than
 * most of them, and a thread that spins without end keeps its core from whoever else needs it: a helper spins for
 * SPIN_NS after its last task, which spans the gaps within a step, and then sleeps until it is called. */
#define _GNU_SOURCE
#include "pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST_HELPERS = 1023, SPIN_NS = 100000, PAUSES = 32 };

static struct {
    Task task;
    const void *job;
    long tasks;
    int helpers;
    int cpu; /* the caller's */
} work;

static atomic_long next_task;
static atomic_uint epoch;    /* odd while there is work to join */
static atomic_int inside;    /* helpers that joined and have not left */
static atomic_int sleeping;
static atomic_flag taken = ATOMIC_FLAG_INIT;
static int started;

static void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void run_tasks(void) {
    for (long task; (task = atomic_fetch_add(&next_task, 1)) < work.tasks;) work.task(work.job, task);
}

/* Returns once there is work that was not there at `seen`. */
static unsigned wait_for_work(unsigned seen) {
    long until = now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < PAUSES; i++) {
            unsigned current = atomic_load(&epoch);
            if (current != seen && current & 1) return current;
            pause_briefly();
        }
    } while (now_ns() < until);
    for (;;) {
        atomic_fetch_add(&sleeping, 1);
        unsigned current = atomic_load(&epoch);
        if (!(current != seen && current & 1)) syscall(SYS_futex, &epoch, FUTEX_WAIT_PRIVATE, current, 0, 0, 0);
        atomic_fetch_sub(&sleeping, 1);
        current = atomic_load(&epoch);
        if (current != seen && current & 1) return current;
    }
}

/* Where all cores are busy the system wakes a thread where it ran before, be that the core of the caller, and there the
 * two would take turns for as long as the others stay busy. */
static void leave_core(int cpu, const cpu_set_t *allowed) {
    cpu_set_t others = *allowed;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others)) sched_setaffinity(0, sizeof others, &others);
}

static void *help(void *argument) {
    int helper = (int)(long)argument;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) CPU_ZERO(&allowed);
    for (unsigned seen = 0;;) {
        seen = wait_for_work(seen);
        /* Joining before looking again: whoever ends the work now either sees us inside or is seen to have ended it. */
        atomic_fetch_add(&inside, 1);
        if (atomic_load(&epoch) == seen && helper < work.helpers) {
            if (sched_getcpu() == work.cpu) leave_core(work.cpu, &allowed);
            run_tasks();
        }
        atomic_fetch_sub(&inside, 1);
    }
    return 0;
}

/* A forked child has none of its parent's threads. */
static void forget_helpers(void) {
    started = 0;
    atomic_store(&inside, 0);
    atomic_store(&sleeping, 0);
    atomic_flag_clear(&taken);
}

static void start_helpers(int wanted) {
    if (!started && wanted) pthread_atfork(0, 0, forget_helpers);
    for (; started < wanted; started++) {
        pthread_t thread;
        if (pthread_create(&thread, 0, help, (void *)(long)started)) return;
        pthread_detach(thread);
    }
}

void share_out(int threads, long tasks, Task task, const void *job) {
    long helpers = (threads < tasks ? threads : tasks) - 1;
    if (helpers > MOST_HELPERS) helpers = MOST_HELPERS;
    /* Two callers at once, as two engines in one process may be, do not wait for one another. */
    if (helpers < 1 || atomic_flag_test_and_set(&taken)) {
        for (long i = 0; i < tasks; i++) task(job, i);
        return;
    }
    start_helpers(helpers);
    work.task = task, work.job = job, work.tasks = tasks, work.helpers = helpers, work.cpu = sched_getcpu();
    atomic_store(&next_task, 0);
    atomic_fetch_add(&epoch, 1);
    if (atomic_load(&sleeping)) syscall(SYS_futex, &epoch, FUTEX_WAKE_PRIVATE, MOST_HELPERS, 0, 0, 0);
    run_tasks();
    atomic_fetch_add(&epoch, 1);
    for (long i = 0; atomic_load(&inside); i++) {
        pause_briefly();
        if (i % 1024 == 1023) sched_yield();
    }
    atomic_flag_clear(&taken);
}
