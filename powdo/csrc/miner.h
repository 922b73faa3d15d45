/* What the kernels share: SHA-256 (FIPS 180-4) over nonces whose last four digits fill one 32-bit word.

   Rules:
   - a job is 10 000 attempts that differ in one word of one block; what comes before that block is a chaining
     value, and of what comes after it the message schedule is known beforehand;
   - a kernel names candidates by the first word of the digest; `miner.c` hashes each again before it believes it. */

#ifndef POWDO_MINER_H
#define POWDO_MINER_H

#include <stddef.h>
#include <stdint.h>

/* How many attempts share all but one word, and how far beyond the last of them a kernel may read. */
#define LOWS 10000
#define MOST_LANES 16

struct job {
    uint32_t state[8];     /* before the block of the nonce */
    uint32_t started[8];   /* the working variables once the rounds of the words before the nonce's are done */
    uint32_t block[16];    /* the block of the nonce */
    int at;                /* which of its words holds the last four digits */
    int first;             /* the first round that is not done in *started*, a multiple of four up to *at* */
    const uint32_t *words; /* that word for 0000, 0001, …, MOST_LANES more than LOWS */
    const uint32_t *rest;  /* W[t] + K[t] of the blocks behind it, 64 words each */
    size_t blocks;         /* how many these are */
    uint32_t mask;         /* the bits of the digest's first word that must be zero */
};

/* Writes to *hits* those of the attempts from..to - 1 whose first word has no bit of the mask; returns how many. */
typedef int kernel(const struct job *job, int from, int to, uint16_t *hits);

extern const uint32_t K256[64];

kernel scan_scalar;

#if defined(__x86_64__) && defined(__GNUC__)
#define POWDO_X86 1
kernel scan_sha_ni, scan_avx2, scan_avx512;
#endif

#endif
