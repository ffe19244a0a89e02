/* Threads that share out the tasks of one operation at a time. */
#ifndef NEOKERNELS_POOL_H
#define NEOKERNELS_POOL_H

typedef void (*Task)(const void *job, long task);

/* Runs task(job, 0) ... task(job, tasks - 1), each once, on up to `threads` threads, the caller among them, and returns
 * when all are done. They are handed out one by one, so a thread that loses its core holds up no more than its task. */
void share_out(int threads, long tasks, Task task, const void *job);

#endif
