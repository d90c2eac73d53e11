// Computes in user mode without entering the kernel: compute SECONDS. Stretches of twice the work each time, until one
// takes SECONDS by the guest's clock. Meanwhile another process sleeps for 10 ms again and again: what it overslept is how
// long the processor could not be taken away. The sum depends on every step, so a wrong register would change it.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAP_NS 10000000
#define WORDS 4096 // of memory that the computation changes

static uint64_t memory[WORDS];

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void sleeper(volatile int64_t *overslept)
{
    for (;;) {
        struct timespec nap = {0, NAP_NS};
        int64_t begun = now();
        nanosleep(&nap, NULL);
        int64_t late = now() - begun - NAP_NS;
        if (late > *overslept)
            *overslept = late;
    }
}

// Marsaglia's xorshift64, floating point, and memory.
static uint64_t compute(uint64_t steps, uint64_t sum, double *real)
{
    for (uint64_t i = 0; i < steps; i++) {
        sum ^= sum << 13;
        sum ^= sum >> 7;
        sum ^= sum << 17;
        memory[sum % WORDS] += sum;
        *real = *real * 0.75 + (double)(sum & 0xffff);
    }
    return sum;
}

int main(int argc, char **argv)
{
    int64_t wanted = argc == 2 ? atoll(argv[1]) * 1000000000LL : 0;
    volatile int64_t *overslept = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (wanted <= 0 || overslept == MAP_FAILED) {
        fprintf(stderr, "compute: compute SECONDS\n");
        return 1;
    }
    pid_t child = fork();
    if (child < 0)
        return 1;
    if (child == 0)
        sleeper(overslept);
    for (int i = 0; i < WORDS; i++) // so that no page is missing later
        memory[i] = i;
    uint64_t sum = 88172645463325252ULL, steps = 1 << 18;
    double real = 0;
    int64_t took = 0, worst = 0;
    for (; took < wanted; steps *= 2) {
        *overslept = 0;
        int64_t begun = now();
        sum = compute(steps, sum, &real);
        took = now() - begun;
        struct timespec nap = {0, 5 * NAP_NS}; // the other process notes what it overslept
        nanosleep(&nap, NULL);
        if (*overslept > worst)
            worst = *overslept;
        fprintf(stderr, "compute: %llu steps in %.3f s, overslept %.3f s\n", (unsigned long long)steps, took / 1e9,
                *overslept / 1e9);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    for (int i = 0; i < WORDS; i++)
        sum = sum * 31 + memory[i];
    printf("worst_ms=%.1f sum=%016llx\n", worst / 1e6, (unsigned long long)(sum ^ (uint64_t)real));
    return 0;
}
