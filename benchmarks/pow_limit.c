/* What this processor can do at most: additions that wait for each other (its clock), and sha256rnds2, of which a
   block of SHA-256 wants 32, two rounds each. Writes how many of both it does in a CPU second of this thread. */

#include <stdio.h>
#include <time.h>

#define TIMES 20000000L

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(void)
{
    unsigned long sum = 1;
    double begin = now(), additions, rounds;

    for (long i = 0; i < TIMES; i++)
        __asm__ volatile("add $1, %0\n add $1, %0\n add $1, %0\n add $1, %0" : "+r"(sum));
    additions = 4.0 * TIMES / (now() - begin);
    begin = now();
    for (long i = 0; i < TIMES; i++)
        __asm__ volatile("sha256rnds2 %%xmm0, %%xmm9, %%xmm1\n sha256rnds2 %%xmm0, %%xmm9, %%xmm2\n sha256rnds2 %%xmm0, %%xmm9, %%xmm3\n sha256rnds2 %%xmm0, %%xmm9, %%xmm4\n"
                         "sha256rnds2 %%xmm0, %%xmm9, %%xmm5\n sha256rnds2 %%xmm0, %%xmm9, %%xmm6\n sha256rnds2 %%xmm0, %%xmm9, %%xmm7\n sha256rnds2 %%xmm0, %%xmm9, %%xmm8"
                         ::: "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8");
    rounds = 8.0 * TIMES / (now() - begin);
    printf("%.0f %.0f\n", additions, rounds);
    return 0;
}
