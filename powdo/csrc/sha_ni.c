/* Six attempts interleaved, for processors with the SHA extensions (and AVX, whose moves cost nothing).

   sha256rnds2 takes four cycles, but a processor may begin one each cycle: six streams keep it busy, and their
   twelve state registers leave room for the message. The schedules of the six nonce blocks are written to memory
   first; those of the other blocks are the same for all attempts. Two rounds want two words W + K in the lower
   half of the register, so that each half of four is loaded where it lies instead of being shuffled. */

#include "miner.h"

#ifdef POWDO_X86

#include <immintrin.h>

#define TARGET __attribute__((target("sha,avx")))
#define STREAMS 6
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)

#define PAIR(p) _mm_loadl_epi64((const __m128i *)(p))
#define QUAD(p) _mm_loadu_si128((const __m128i *)(p))

/* The two halves of a state as sha256rnds2 wants them: A B E F and C D G H, the first in the highest lane. */
TARGET static inline void load_state(const uint32_t state[8], __m128i *abef, __m128i *cdgh)
{
    __m128i cdab = _mm_shuffle_epi32(QUAD(state), 0xB1), efgh = _mm_shuffle_epi32(QUAD(state + 4), 0x1B);
    *abef = _mm_alignr_epi8(cdab, efgh, 8);
    *cdgh = _mm_blend_epi16(efgh, cdab, 0xF0);
}

/* Writes W[t] + K[t] of three blocks; one alone would spend most of its time waiting for itself. */
TARGET static inline void write_schedules(const __m128i block[4], const __m128i places[4], const uint32_t *words,
                                          uint32_t wk[3][64])
{
    const __m128i *k = (const __m128i *)K256;
#define THREE(DO) DO(0) DO(1) DO(2)
#define FILL(s, quad) _mm_or_si128(block[quad], _mm_and_si128(word##s, places[quad]))
#define STORE(s, quad, value) _mm_store_si128((__m128i *)wk[s] + (quad), _mm_add_epi32(value, QUAD(k + (quad))))
#define BEGIN(s)                                                                                          \
    __m128i word##s = _mm_set1_epi32((int)words[s]);                                                      \
    __m128i a##s = FILL(s, 0), b##s = FILL(s, 1), c##s = FILL(s, 2), d##s = FILL(s, 3), next##s;          \
    STORE(s, 0, a##s), STORE(s, 1, b##s), STORE(s, 2, c##s), STORE(s, 3, d##s);
    THREE(BEGIN)
#pragma GCC unroll 12
    for (int quad = 4; quad < 16; quad++) {
#define EXTEND(s) next##s = _mm_add_epi32(_mm_sha256msg1_epu32(a##s, b##s), _mm_alignr_epi8(d##s, c##s, 4));
#define FINISH(s) next##s = _mm_sha256msg2_epu32(next##s, d##s);
#define PASS_ON(s) STORE(s, quad, next##s), a##s = b##s, b##s = c##s, c##s = d##s, d##s = next##s;
        THREE(EXTEND)
        THREE(FINISH)
        THREE(PASS_ON)
    }
}

TARGET int scan_sha_ni(const struct job *job, int from, int to, uint16_t *hits)
{
    uint32_t wk[STREAMS][64] __attribute__((aligned(64)));
    __m128i started_abef, started_cdgh, state_abef, state_cdgh, saved[2 * STREAMS], block[4], places[4];
    int found = 0;

    load_state(job->started, &started_abef, &started_cdgh);
    load_state(job->state, &state_abef, &state_cdgh);
    for (int quad = 0; quad < 4; quad++) {
        __m128i indices = _mm_add_epi32(_mm_setr_epi32(0, 1, 2, 3), _mm_set1_epi32(4 * quad));
        places[quad] = _mm_cmpeq_epi32(indices, _mm_set1_epi32(job->at));
        block[quad] = _mm_andnot_si128(places[quad], QUAD(job->block + 4 * quad));
    }

    for (int low = from; low < to; low += STREAMS) {
#define DECLARE(s) __m128i abef##s = started_abef, cdgh##s = started_cdgh;
        EACH(DECLARE)

        write_schedules(block, places, job->words + low, wk);
        write_schedules(block, places, job->words + low + 3, wk + 3);
        for (int t = job->first; t < 64; t += 4) {
#define FIRST_HALF(s) cdgh##s = _mm_sha256rnds2_epu32(cdgh##s, abef##s, PAIR(wk[s] + t));
#define SECOND_HALF(s) abef##s = _mm_sha256rnds2_epu32(abef##s, cdgh##s, PAIR(wk[s] + t + 2));
            EACH(FIRST_HALF)
            EACH(SECOND_HALF)
        }
#define ADD_FIXED(s) abef##s = _mm_add_epi32(abef##s, state_abef), cdgh##s = _mm_add_epi32(cdgh##s, state_cdgh);
        EACH(ADD_FIXED)

        for (const uint32_t *rest = job->rest, *end = rest + 64 * job->blocks; rest < end; rest += 64) {
#define SAVE(s) saved[2 * s] = abef##s, saved[2 * s + 1] = cdgh##s;
            EACH(SAVE)
#pragma GCC unroll 16
            for (int t = 0; t < 64; t += 4) {
                __m128i words = PAIR(rest + t);
#define REST_FIRST(s) cdgh##s = _mm_sha256rnds2_epu32(cdgh##s, abef##s, words);
                EACH(REST_FIRST)
                words = PAIR(rest + t + 2);
#define REST_SECOND(s) abef##s = _mm_sha256rnds2_epu32(abef##s, cdgh##s, words);
                EACH(REST_SECOND)
            }
#define ADD_SAVED(s) abef##s = _mm_add_epi32(abef##s, saved[2 * s]), \
    cdgh##s = _mm_add_epi32(cdgh##s, saved[2 * s + 1]);
            EACH(ADD_SAVED)
        }

#define TELL(s)                                                                      \
        if (low + s < to && !((uint32_t)_mm_extract_epi32(abef##s, 3) & job->mask))  \
            hits[found++] = (uint16_t)(low + s);
        EACH(TELL)
    }
    return found;
}

#endif
