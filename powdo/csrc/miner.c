/* powdo._miner: attempts at proof of work (NIP-13), as many as the processor can make.

   Rules:
   - the caller gives the serialization of an event (NIP-01) and where the digits of its nonce lie; their last four
     fill a 32-bit word, and only the blocks from theirs on are hashed for an attempt;
   - the GIL is released while this works; the flags of the caller are looked at, and the clock, at least once in
     CHUNK blocks, which is about a millisecond;
   - what a kernel takes for a hit is hashed again here, in plain C, and by the caller in another way.

   Written for the stable ABI of CPython 3.11. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "miner.h"

#ifdef POWDO_X86
#include <cpuid.h>
#endif

#define CHUNK 65536
#define MOST_DIGITS 19

const uint32_t K256[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static const uint32_t START[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const struct {
    const char *name;
    kernel *scan;
} KERNELS[] = {
#ifdef POWDO_X86
    {"sha-ni", scan_sha_ni},
    {"avx2", scan_avx2},
    {"avx512", scan_avx512},
#endif
    {"scalar", scan_scalar},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static uint32_t words_of_lows[LOWS + MOST_LANES];

/* --- SHA-256 in plain C --- */

static uint32_t rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void expand(const uint32_t block[16], uint32_t wk[64])
{
    memcpy(wk, block, 64);
    for (int t = 16; t < 64; t++) {
        uint32_t x = wk[t - 15], y = wk[t - 2];
        wk[t] = wk[t - 16] + wk[t - 7] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) +
                (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
    }
    for (int t = 0; t < 64; t++)
        wk[t] += K256[t];
}

static void rounds(uint32_t v[8], const uint32_t *wk, int count)
{
    for (int t = 0; t < count; t++) {
        uint32_t one = v[7] + (rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)) +
                       (v[6] ^ (v[4] & (v[5] ^ v[6]))) + wk[t];
        uint32_t two = (rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)) +
                       ((v[0] & v[1]) | (v[2] & (v[0] | v[1])));
        memmove(v + 1, v, 28);
        v[4] += one;
        v[0] = one + two;
    }
}

static void compress(uint32_t state[8], const unsigned char *bytes)
{
    uint32_t block[16], wk[64], v[8];

    for (int t = 0; t < 16; t++)
        block[t] = big_endian(bytes + 4 * t);
    expand(block, wk);
    memcpy(v, state, 32);
    rounds(v, wk, 64);
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

static int leading_zeros(const uint32_t digest[8])
{
    int bits = 0;

    for (int i = 0; i < 8; i++, bits += 32)
        if (digest[i]) {
            for (uint32_t word = digest[i]; !(word >> 31); word <<= 1)
                bits++;
            return bits;
        }
    return bits;
}

/* --- one search --- */

struct search {
    kernel *scan;
    unsigned char *padded; /* the message with its padding */
    size_t size;
    size_t offset; /* of the first digit */
    int digits, bits;
    uint32_t state[8]; /* before the block of the first digit */
    uint32_t *wk;
    int chunk; /* attempts between two looks at the clock */
    struct job job;
};

static void search_free(struct search *search)
{
    free(search->padded);
    free(search->wk);
}

/* Returns -1 with an exception set when the arguments make no sense. */
static int search_init(struct search *search, const char *name, const Py_buffer *message, Py_ssize_t offset,
                       int digits, int bits)
{
    size_t length = (size_t)message->len, low;

    memset(search, 0, sizeof *search);
    for (size_t i = 0; i < COUNT(KERNELS); i++)
        if (!strcmp(name, KERNELS[i].name))
            search->scan = KERNELS[i].scan;
    if (!search->scan) {
        PyErr_Format(PyExc_ValueError, "there is no kernel '%s'", name);
        return -1;
    }
    if (digits < 5 || digits > MOST_DIGITS || offset < 0 || (size_t)offset + (size_t)digits > length ||
        ((size_t)offset + (size_t)digits) % 4 || bits < 0 || bits > 256) {
        PyErr_SetString(PyExc_ValueError, "the last four of 5 to 19 digits must fill a word of the message");
        return -1;
    }
    search->offset = (size_t)offset, search->digits = digits, search->bits = bits;
    low = search->offset + (size_t)digits - 4;
    search->size = (length + 9 + 63) / 64 * 64;
    search->job.at = (int)(low % 64 / 4);
    search->job.first = search->job.at & ~3;
    search->job.blocks = search->size / 64 - low / 64 - 1;
    search->job.words = words_of_lows;
    search->job.mask = bits == 0 ? 0 : bits >= 32 ? 0xffffffff : ~(0xffffffffu >> bits);
    search->padded = calloc(1, search->size);
    search->wk = malloc(256 * (search->job.blocks + 1));
    if (!search->padded || !search->wk) {
        search_free(search);
        PyErr_NoMemory();
        return -1;
    }
    memcpy(search->padded, message->buf, length);
    search->padded[length] = 0x80;
    for (int i = 0; i < 8; i++)
        search->padded[search->size - 1 - (size_t)i] = (unsigned char)((uint64_t)length * 8 >> 8 * i);
    search->chunk = (int)(CHUNK / (search->job.blocks + 1) / 48 * 48);
    if (search->chunk < 48)
        search->chunk = 48;
    if (search->chunk > LOWS)
        search->chunk = LOWS;
    return 0;
}

/* What is the same for every attempt of a search. */
static void search_begin(struct search *search)
{
    size_t first = search->offset / 64, low = search->offset + (size_t)search->digits - 4;

    memcpy(search->state, START, 32);
    for (size_t i = 0; i < first; i++)
        compress(search->state, search->padded + 64 * i);
    for (size_t i = 0; i < search->job.blocks; i++) {
        uint32_t block[16];
        for (int t = 0; t < 16; t++)
            block[t] = big_endian(search->padded + 64 * (low / 64 + 1 + i) + 4 * t);
        expand(block, search->wk + 64 * i);
    }
    search->job.rest = search->wk;
}

static void write_digits(unsigned char *to, int count, uint64_t value)
{
    while (count--) {
        to[count] = (unsigned char)('0' + value % 10);
        value /= 10;
    }
}

/* Make a job of the 10 000 attempts whose nonce begins with *high*. */
static void search_turn(struct search *search, uint64_t high)
{
    struct job *job = &search->job;
    size_t low = search->offset + (size_t)search->digits - 4;
    uint32_t wk[64];

    write_digits(search->padded + search->offset, search->digits - 4, high);
    memcpy(job->state, search->state, 32);
    for (size_t i = search->offset / 64; i < low / 64; i++)
        compress(job->state, search->padded + 64 * i);
    for (int t = 0; t < 16; t++)
        job->block[t] = big_endian(search->padded + low / 64 * 64 + 4 * t);
    expand(job->block, wk);
    memcpy(job->started, job->state, 32);
    rounds(job->started, wk, job->first);
}

/* Whether the digest with *low* really has the bits. */
static int search_confirm(struct search *search, int low)
{
    uint32_t state[8];
    size_t block = (search->offset + (size_t)search->digits - 4) / 64;

    write_digits(search->padded + search->offset + search->digits - 4, 4, (uint64_t)low);
    memcpy(state, search->job.state, 32);
    for (size_t i = block; i < search->size / 64; i++)
        compress(state, search->padded + 64 * i);
    return leading_zeros(state) >= search->bits;
}

static uint64_t power_of_ten(int exponent)
{
    uint64_t power = 1;

    while (exponent--)
        power *= 10;
    return power;
}

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* --- what Python calls --- */

PyDoc_STRVAR(scan_doc,
"scan(kernel, message, offset, digits, bits, first, step, seconds, flags) -> (attempts, turns, nonce)\n\n"
"Try nonces for so many seconds: each turn is the 10 000 nonces that begin with first, first + step, ….\n"
"nonce is the first one whose digest has the bits, -1 if none was found. flags are two bytes of the caller's:\n"
"one ends the search when the caller sets it; the other is set by whoever finds a nonce and ends it likewise.");

static PyObject *scan(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *name;
    Py_buffer message, flags;
    Py_ssize_t offset;
    int digits, bits, ended = 0;
    unsigned long long first, step, attempts = 0, turns = 0;
    long long nonce = -1;
    double seconds, deadline;
    struct search search;
    uint64_t end;

    if (!PyArg_ParseTuple(arguments, "sy*niiKKdw*:scan", &name, &message, &offset, &digits, &bits, &first, &step,
                          &seconds, &flags))
        return NULL;
    if (flags.len < 2 || step == 0) {
        PyErr_SetString(PyExc_ValueError, "there are two flags, and a step of at least one");
        goto fail;
    }
    if (search_init(&search, name, &message, offset, digits, bits))
        goto fail;
    end = power_of_ten(digits - 4);

    Py_BEGIN_ALLOW_THREADS
    volatile char *flag = flags.buf;
    uint16_t hits[LOWS];

    search_begin(&search);
    deadline = seconds_now() + seconds;
    for (uint64_t high = first; high < end && nonce < 0 && !ended; high += step, turns++) {
        search_turn(&search, high);
        for (int low = 0; low < LOWS && nonce < 0 && !ended; low += search.chunk) {
            int to = low + search.chunk < LOWS ? low + search.chunk : LOWS;
            int found = search.scan(&search.job, low, to, hits);

            attempts += (unsigned long long)(to - low);
            for (int i = 0; i < found && nonce < 0; i++)
                if (search_confirm(&search, hits[i])) {
                    attempts -= (unsigned long long)(to - 1 - hits[i]);
                    nonce = (long long)(high * LOWS + hits[i]);
                    flag[1] = 1;
                }
            ended = flag[0] || flag[1] || seconds_now() >= deadline;
        }
    }
    Py_END_ALLOW_THREADS

    search_free(&search);
    PyBuffer_Release(&message);
    PyBuffer_Release(&flags);
    return Py_BuildValue("KKL", attempts, turns, nonce);
fail:
    PyBuffer_Release(&message);
    PyBuffer_Release(&flags);
    return NULL;
}

PyDoc_STRVAR(hits_doc,
"hits(kernel, message, offset, digits, bits, high) -> list\n\n"
"Return all of the 10 000 nonces that begin with high whose digest has the bits.");

static PyObject *hits(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *name;
    Py_buffer message;
    Py_ssize_t offset;
    int digits, bits, found;
    unsigned long long high;
    struct search search;
    uint16_t lows[LOWS];
    PyObject *list = NULL;

    if (!PyArg_ParseTuple(arguments, "sy*niiK:hits", &name, &message, &offset, &digits, &bits, &high))
        return NULL;
    if (search_init(&search, name, &message, offset, digits, bits))
        goto end;
    if (high >= power_of_ten(digits - 4)) {
        PyErr_SetString(PyExc_ValueError, "too large for its digits");
        goto free_search;
    }
    Py_BEGIN_ALLOW_THREADS
    search_begin(&search);
    search_turn(&search, high);
    found = search.scan(&search.job, 0, LOWS, lows);
    Py_END_ALLOW_THREADS
    list = PyList_New(0);
    for (int i = 0; list && i < found; i++) {
        PyObject *nonce;

        if (!search_confirm(&search, lows[i]))
            continue;
        nonce = PyLong_FromUnsignedLongLong(high * LOWS + lows[i]);
        if (!nonce || PyList_Append(list, nonce))
            Py_CLEAR(list);
        Py_XDECREF(nonce);
    }
free_search:
    search_free(&search);
end:
    PyBuffer_Release(&message);
    return list;
}

static int is_supported(const char *name)
{
#ifdef POWDO_X86
    if (!strcmp(name, "sha-ni")) {
        unsigned a, b, c, d;
        return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) && __builtin_cpu_supports("avx");
    }
    if (!strcmp(name, "avx2"))
        return __builtin_cpu_supports("avx2") != 0;
    if (!strcmp(name, "avx512"))
        return __builtin_cpu_supports("avx512f") != 0;
#endif
    return !strcmp(name, "scalar");
}

PyDoc_STRVAR(kernels_doc, "kernels() -> tuple\n\nReturn the names of the kernels that this processor can run.");

static PyObject *kernels(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none))
{
    PyObject *list = PyList_New(0), *names;

    for (size_t i = 0; list && i < COUNT(KERNELS); i++) {
        PyObject *name;

        if (!is_supported(KERNELS[i].name))
            continue;
        name = PyUnicode_FromString(KERNELS[i].name);
        if (!name || PyList_Append(list, name))
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    if (!list)
        return NULL;
    names = PyList_AsTuple(list);
    Py_DECREF(list);
    return names;
}

static int execute(PyObject *Py_UNUSED(module))
{
    for (int low = 0; low < LOWS + MOST_LANES; low++) {
        unsigned char text[4];
        write_digits(text, 4, (uint64_t)low % LOWS);
        words_of_lows[low] = big_endian(text);
    }
    return 0;
}

static PyMethodDef methods[] = {
    {"scan", scan, METH_VARARGS, scan_doc},
    {"hits", hits, METH_VARARGS, hits_doc},
    {"kernels", kernels, METH_NOARGS, kernels_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "powdo._miner",
    .m_doc = "Attempts at proof of work, as many as the processor can make.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__miner(void)
{
    return PyModuleDef_Init(&module);
}
