/* A kernel over LANES attempts side by side, one a 32-bit lane of a vector; included once for each width.

   Wants LANES, SCAN (the kernel's name) and TARGET (the attribute that allows the instructions). Rotations are
   written as shifts: the compiler makes one instruction of them where there is one. */

#include "miner.h"
#include <string.h>

#if LANES > 1
typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));
#else
typedef uint32_t lanes;
#endif

#define ROTATE(x, n) (((x) >> (n)) | ((x) << (32 - (n))))
#define SUM0(x) (ROTATE(x, 2) ^ ROTATE(x, 13) ^ ROTATE(x, 22))
#define SUM1(x) (ROTATE(x, 6) ^ ROTATE(x, 11) ^ ROTATE(x, 25))
#define SIGMA0(x) (ROTATE(x, 7) ^ ROTATE(x, 18) ^ ((x) >> 3))
#define SIGMA1(x) (ROTATE(x, 17) ^ ROTATE(x, 19) ^ ((x) >> 10))
#define CHOOSE(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define MAJORITY(x, y, z) (((x) & (y)) | ((z) & ((x) | (y))))

#define ROUND(a, b, c, d, e, f, g, h, wk)                     \
    do {                                                      \
        lanes sum = h + SUM1(e) + CHOOSE(e, f, g) + (wk);     \
        d += sum;                                             \
        h = sum + SUM0(a) + MAJORITY(a, b, c);                \
    } while (0)

#define FOUR_ROUNDS(a, b, c, d, e, f, g, h, WK, t) \
    ROUND(a, b, c, d, e, f, g, h, WK(t));          \
    ROUND(h, a, b, c, d, e, f, g, WK((t) + 1));    \
    ROUND(g, h, a, b, c, d, e, f, WK((t) + 2));    \
    ROUND(f, g, h, a, b, c, d, e, WK((t) + 3))

#define ADD_STATE(s)                                        \
    do {                                                    \
        a += (s)[0], b += (s)[1], c += (s)[2], d += (s)[3]; \
        e += (s)[4], f += (s)[5], g += (s)[6], h += (s)[7]; \
    } while (0)

#define OF_NONCE(t) schedule[t]
#define OF_REST(t) wk[t]

TARGET int SCAN(const struct job *job, int from, int to, uint16_t *hits)
{
    const lanes zero = {0};
    int found = 0;

    for (int low = from; low < to; low += LANES) {
        lanes schedule[64], saved[8], a, b, c, d, e, f, g, h;
        uint32_t words[LANES];

        for (int t = 0; t < 16; t++)
            schedule[t] = zero + job->block[t];
        memcpy(&schedule[job->at], job->words + low, sizeof(lanes));
        for (int t = 16; t < 64; t++)
            schedule[t] = schedule[t - 16] + SIGMA0(schedule[t - 15]) + schedule[t - 7] + SIGMA1(schedule[t - 2]);
        for (int t = job->first; t < 64; t++)
            schedule[t] += K256[t];

        a = zero + job->started[0], b = zero + job->started[1], c = zero + job->started[2];
        d = zero + job->started[3], e = zero + job->started[4], f = zero + job->started[5];
        g = zero + job->started[6], h = zero + job->started[7];
        for (int t = job->first; t < 64; t += 4) {
            lanes x, y, z, w;
            FOUR_ROUNDS(a, b, c, d, e, f, g, h, OF_NONCE, t);
            x = a, y = b, z = c, w = d; /* four rounds have turned the eight variables halfway round */
            a = e, b = f, c = g, d = h;
            e = x, f = y, g = z, h = w;
        }
        ADD_STATE(job->state);

        for (const uint32_t *wk = job->rest, *end = wk + 64 * job->blocks; wk < end; wk += 64) {
            saved[0] = a, saved[1] = b, saved[2] = c, saved[3] = d;
            saved[4] = e, saved[5] = f, saved[6] = g, saved[7] = h;
            for (int t = 0; t < 64; t += 8) {
                FOUR_ROUNDS(a, b, c, d, e, f, g, h, OF_REST, t);
                FOUR_ROUNDS(e, f, g, h, a, b, c, d, OF_REST, t + 4);
            }
            ADD_STATE(saved);
        }

        memcpy(words, &a, sizeof words);
        for (int lane = 0; lane < LANES && low + lane < to; lane++)
            if (!(words[lane] & job->mask))
                hits[found++] = (uint16_t)(low + lane);
    }
    return found;
}
